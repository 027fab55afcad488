"""What the conformance statement says is what acceptor and requestor do: the document is the oracle."""

import asyncio
import re
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from imex.dimse import Acceptor, AssociationRequest, connect, serve
from imex.dimse import pdu as codec
from imex.dimse.command import CommandField, Tag, encode, store_request
from imex.dimse.items import ProposedContext, UserInformation
from imex.dimse.limits import Limits
from imex.dimse.tls import server_context
from imex.ingest.settings import DicomSettings
from imex.local.certificates import Certificates
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.raw_peer import CT, ECHO_CONTEXT, EXPLICIT, STORE_CONTEXT, VERIFICATION, RawPeer
from imex.testing.runtime import until
from imex.testing.upper_layer import FakeClock

STATEMENT = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


def rows(section: str) -> list[list[str]]:
    """The rows of the tables of a section, without heads and lines."""
    title = re.search(rf"^#+ {re.escape(section)}$", STATEMENT, re.MULTILINE)
    assert title, section
    depth = title.group().index(" ")
    rest = STATEMENT[title.end() :]
    end = re.search(rf"^#{{1,{depth}}} ", rest, re.MULTILINE)
    lines = (rest[: end.start()] if end else rest).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in cells if set("".join(row)) != {"-"}]


def number(section: str, label: str) -> int:
    """The first number of a row's second cell."""
    (found,) = [row[1] for row in rows(section) if row[0].startswith(label)]
    digits = re.search(r"\d[\d,]*", found)
    assert digits, found
    return int(digits.group().replace(",", ""))


POLICIES = "4.2.2 Association policies"
ACCEPTANCE = "4.2.4 Association acceptance policy"
STORAGE = "SOP-specific conformance: Storage"


def comment_of(code: str, begins: str) -> str:
    """The Error Comment that the statement has for a status."""
    (found,) = [row[2].strip("`") for row in rows(STORAGE) if row[0] == code and begins in row[2]]
    return found


@pytest.fixture
async def recorder() -> DimseRecorder:
    return DimseRecorder()


@pytest.fixture
async def listening(recorder: DimseRecorder) -> AsyncIterator[Acceptor]:
    async with acceptor(recorder) as made:
        yield made


def request(context: str = codec.APPLICATION_CONTEXT, version: int = 1) -> bytes:
    """An A-ASSOCIATE-RQ for CT images."""
    contexts = (ProposedContext(1, CT, (EXPLICIT,)),)
    information = UserInformation(16384, "1.2.3")
    wanted = codec.AssociateRequest("B", "A", contexts, information, context, version)
    return codec.encode_associate_request(wanted)


def accepted_of(peer: RawPeer) -> codec.AssociateAccept:
    return codec.decode_associate_accept(peer.accepted, Limits())


async def test_the_acceptor_offers_the_stated_pdu_and_names_itself_as_stated(listening: Acceptor) -> None:
    peer = await RawPeer.associated(listening.port)
    information = accepted_of(peer).user_information
    assert information.max_length == number(POLICIES, "longest PDU offered")
    stated = {row[0]: row[1] for row in rows(POLICIES)}
    assert information.implementation_uid == stated["Implementation Class UID"]
    assert information.implementation_version == stated["Implementation Version Name"]


async def test_the_requestor_offers_the_stated_pdu_and_names_itself_as_stated(
    listening: Acceptor, recorder: DimseRecorder
) -> None:
    seen: list[AssociationRequest] = []
    recorder.on_admit = seen.append
    async with connect("127.0.0.1", listening.port, "A", "B", [(VERIFICATION, ["1.2.840.10008.1.2"])]):
        stated = {row[0]: row[1] for row in rows("4.3.2 Association policies")}
    assert [f"{each.implementation_uid}, {each.implementation_version}" for each in seen] == [
        stated["Implementation Class UID, Version Name"]
    ]


@pytest.mark.parametrize("beyond", [0, 1])
async def test_a_pdu_may_be_as_long_as_stated_and_no_longer(listening: Acceptor, beyond: int) -> None:
    peer = await RawPeer.associated(listening.port)
    peer.command(STORE_CONTEXT, store_request(1, CT, "1.2.3"))
    longest = number(POLICIES, "longest PDU offered")
    peer.data(STORE_CONTEXT, bytes(longest - 6 + beyond), last=True)
    if beyond:
        kind, _ = await peer.pdu()
        assert kind == codec.PduType.ABORT
    else:
        assert await peer.answer() == (1, 0x0000, None)


@pytest.mark.parametrize("beyond", [0, 1])
async def test_an_association_request_may_be_as_long_as_stated_and_no_longer(
    listening: Acceptor, beyond: int
) -> None:
    peer = await RawPeer.connected(listening.port)
    longest = number(POLICIES, "longest A-ASSOCIATE-RQ")
    peer.writer.write(struct.pack(">BxI", codec.PduType.ASSOCIATE_RQ, longest + beyond))
    if beyond:
        kind, _ = await peer.pdu()
        assert kind == codec.PduType.ABORT
    else:
        with pytest.raises(TimeoutError):  # it waits for the rest
            await asyncio.wait_for(peer.reader.read(1), 0.3)


@pytest.mark.parametrize("beyond", [0, 1])
async def test_user_information_may_have_as_many_sub_items_as_stated(
    listening: Acceptor, beyond: int
) -> None:
    peer = await RawPeer.connected(listening.port)
    stated = number(POLICIES, "user information sub-items")
    whole = request()
    start = whole.rindex(b"\x50\x00")  # the user information is the last item (PS3.8 table 9-11)
    items = whole[start + 4 :]
    unknown = struct.pack(">BxH", 0x7F, 0)
    information = items + unknown * (stated + beyond - 2)  # besides the length and the class UID
    body = whole[6:start] + struct.pack(">BxH", 0x50, len(information)) + information
    peer.writer.write(struct.pack(">BxI", codec.PduType.ASSOCIATE_RQ, len(body)) + body)
    kind, _ = await peer.pdu()
    assert kind == (codec.PduType.ABORT if beyond else codec.PduType.ASSOCIATE_AC)


@pytest.mark.parametrize("beyond", [0, 1])
async def test_a_command_set_may_be_as_long_as_stated_and_no_longer(listening: Acceptor, beyond: int) -> None:
    peer = await RawPeer.associated(listening.port)
    named = store_request(1, CT, "1.2.3")
    filler = number(POLICIES, "longest command set") + beyond - len(named) - 8
    command = named + struct.pack("<HHI", 0, 0x5000, filler) + bytes(filler)
    peer.command(STORE_CONTEXT, command)
    peer.data(STORE_CONTEXT, b"data", last=True)
    if beyond:
        kind, _ = await peer.pdu()
        assert kind == codec.PduType.ABORT
    else:
        assert await peer.answer() == (1, 0x0000, None)


async def test_one_more_association_than_stated_is_rejected_as_stated() -> None:
    stated = number(POLICIES, "of one process")
    assert stated == DicomSettings(port=0).max_associations
    async with acceptor(DimseRecorder(), Limits(associations=stated)) as listening:
        peers = [await RawPeer.associated(listening.port) for _ in range(stated)]
        late = await RawPeer.connected(listening.port)
        late.writer.write(request())
        kind, body = await late.pdu()
        assert (kind, list(body[1:])) == (codec.PduType.ASSOCIATE_RJ, rejection("local limit exceeded"))
        for each in peers:
            each.writer.close()


def rejection(words: str) -> list[int]:
    """Result, source and reason that the statement has for these words."""
    (found,) = [row[:3] for row in rows(ACCEPTANCE) if len(row) == 5 and row[3] == words]
    return [int(cell.split()[0]) for cell in found]


@pytest.mark.parametrize(
    ("words", "context", "version"),
    [
        ("application context name not supported", "1.2.3.4", 1),
        ("protocol version not supported", codec.APPLICATION_CONTEXT, 2),
    ],
)
async def test_what_no_peer_may_ask_for_is_rejected_as_stated(
    listening: Acceptor, words: str, context: str, version: int
) -> None:
    peer = await RawPeer.connected(listening.port)
    peer.writer.write(request(context, version))
    kind, body = await peer.pdu()
    assert (kind, list(body[1:])) == (codec.PduType.ASSOCIATE_RJ, rejection(words))


async def test_as_many_operations_as_stated_may_be_under_way(listening: Acceptor) -> None:
    stated = re.search(r"at most (\d+), and performs (\d+) itself", STATEMENT)
    assert stated
    peer = await RawPeer.associated(listening.port, window=(0, 0))
    window = accepted_of(peer).user_information.async_window
    assert window == (int(stated.group(1)), int(stated.group(2)))
    plain = await RawPeer.associated(listening.port)
    assert accepted_of(plain).user_information.async_window is None


async def test_every_listed_storage_class_is_accepted_in_any_listed_transfer_syntax(
    listening: Acceptor,
) -> None:
    classes = [row[1] for row in rows("8.1 Storage SOP classes")[1:]]
    syntaxes = [row[1] for row in rows("8.2 Transfer syntaxes")[1:]]
    assert len(classes) > 150
    assert len(syntaxes) > 40
    pairs = [(sop_class, syntaxes[index % len(syntaxes)]) for index, sop_class in enumerate(classes)]
    pairs.append(("1.2.826.0.1.3680043.9.9999.1", "1.2.826.0.1.3680043.9.9999.2"))
    for start in range(0, len(pairs), 128):
        proposed = [(sop_class, [syntax]) for sop_class, syntax in pairs[start : start + 128]]
        async with connect("127.0.0.1", listening.port, "A", "B", proposed) as association:
            assert set(association.accepted) == set(pairs[start : start + 128])


async def test_of_several_transfer_syntaxes_the_first_is_accepted_and_other_services_are_not(
    listening: Acceptor,
) -> None:
    find, first = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.2.4.90"
    contexts = (ProposedContext(1, CT, (first, EXPLICIT)), ProposedContext(3, find, (EXPLICIT,)))
    peer = await RawPeer.associated(listening.port, contexts=contexts)
    taken, refused = accepted_of(peer).contexts
    assert (taken.outcome, taken.transfer_syntax) == (0, first)
    stated = re.search(r"rejected with result (\d)", STATEMENT)
    assert stated
    assert refused.outcome == int(stated.group(1))


async def test_commands_that_cannot_be_carried_out_are_answered_as_stated(listening: Acceptor) -> None:
    peer = await RawPeer.associated(listening.port)

    async def answer(command: bytes, *, data: bool = True) -> tuple[int, int, str | None]:
        peer.command(STORE_CONTEXT, command)
        if data:
            peer.data(STORE_CONTEXT, b"data", last=True)
        return await peer.answer()

    without: dict[Tag, int | str] = {
        Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
        Tag.MESSAGE_ID: 4,
        Tag.PRIORITY: 0,
    }
    wrong = comment_of("0122", "SOP class")
    assert await answer(store_request(1, "1.2.840.10008.5.1.4.1.1.4", "1.2.3")) == (1, 0x0122, wrong)
    too_long = comment_of("0117", "longer")
    assert await answer(store_request(2, CT, "1." + "2" * 63)) == (2, 0x0117, too_long)
    unnamed = encode({**without, Tag.AFFECTED_SOP_CLASS_UID: CT, Tag.DATA_SET_TYPE: 0x0001})
    assert await answer(unnamed) == (4, 0x0117, comment_of("0117", "no Affected"))
    named: dict[Tag, int | str] = {Tag.AFFECTED_SOP_CLASS_UID: CT, Tag.AFFECTED_SOP_INSTANCE_UID: "1.2.3"}
    empty = encode({**without, **named, Tag.DATA_SET_TYPE: 0x0101})
    assert await answer(empty, data=False) == (4, 0xC000, comment_of("C000", "without"))
    find = encode({Tag.COMMAND_FIELD: 0x0020, Tag.MESSAGE_ID: 5, Tag.DATA_SET_TYPE: 0x0001})
    assert (await answer(find))[:2] == (5, 0x0211)
    assert "answered with 0211" in STATEMENT


async def test_an_error_of_the_service_is_answered_as_stated(
    listening: Acceptor, recorder: DimseRecorder
) -> None:
    async def fail(_: object) -> None:
        raise RuntimeError

    recorder.on_write = fail
    peer = await RawPeer.associated(listening.port)
    peer.store(1, "1.2.3", b"data")
    assert await peer.answer() == (1, 0x0110, comment_of("0110", "processing"))


@pytest.mark.parametrize("label", ["connection without A-ASSOCIATE-RQ", "between two messages"])
async def test_a_silent_peer_is_gone_after_the_stated_seconds(label: str) -> None:
    clock, recorder = FakeClock(), DimseRecorder()
    listening = await serve("127.0.0.1", 0, recorder, clock=clock)
    try:
        peer = await RawPeer.connected(listening.port)
        if label.startswith("between"):
            peer.writer.write(request())
            await peer.pdu()
            await asyncio.sleep(0)
        else:
            await until(lambda: listening.connections == 1)
        await asyncio.sleep(0.05)  # what is waited for has begun when the loop has nothing else to do
        stated = number(ACCEPTANCE, label)
        clock.advance(stated - 0.1)
        await asyncio.sleep(0.05)
        assert listening.connections == 1
        assert not recorder.ended
        clock.advance(0.2)
        kind, _ = await peer.pdu()
        assert kind in {codec.PduType.ABORT, 0}
    finally:
        await listening.close()


async def test_c_echo_is_served_on_a_context_of_its_own(listening: Acceptor) -> None:
    peer = await RawPeer.associated(listening.port)
    command: dict[Tag, int | str] = {
        Tag.AFFECTED_SOP_CLASS_UID: VERIFICATION,
        Tag.COMMAND_FIELD: CommandField.C_ECHO_RQ,
    }
    peer.command(ECHO_CONTEXT, encode({**command, Tag.MESSAGE_ID: 7, Tag.DATA_SET_TYPE: 0x0101}))
    assert await peer.answer() == (7, 0x0000, None)


def test_the_tls_port_has_the_stated_versions_and_suites(tmp_path: Path) -> None:
    authority = Certificates(tmp_path)
    own = authority.server()
    context = server_context(own.certificate, own.key, authority.ca)
    stated = {row[0]: row[1] for row in rows("7.1 Secure transport")}
    assert stated["versions"] == "TLS 1.2, TLS 1.3"
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    offered = {each["name"] for each in context.get_ciphers() if each["protocol"] == "TLSv1.2"}
    assert offered == set(re.findall(r"`([^`]+)`", stated["cipher suites of TLS 1.2"]))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert "compulsory" in stated["authentication"]
