"""HL7 over real sockets: what is acknowledged is safe, and nobody holds the listener up."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.ingest.conftest import DIRECTORY, World, make_world
from tests.unit.ingest.test_hl7_reports import PDF, STUDY, oru

from imex.dimse.tls import server_context
from imex.directory import DirectoryIndex, parse
from imex.events import Identity
from imex.hl7.framing import FrameReader, framed
from imex.hl7.message import MOST_HEADER, Message, read
from imex.ingest.hl7.places import Places
from imex.ingest.hl7.server import Hl7Server
from imex.ingest.settings import Hl7Settings
from imex.local.certificates import Certificates
from imex.runtime import Transient

NAMED = DIRECTORY.replace(
    "{ae_title: RQM_PACS}", "{ae_title: RQM_PACS, hl7: {application: RIS, facility: RT3}}"
)
MIB = 1024 * 1024


class Peer:
    """A system that sends messages and reads what comes back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = FrameReader(MIB)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Message:
        while True:
            data = await asyncio.wait_for(self.reader.read(65536), 20)
            assert data, "hung up"
            for message in self._frames.feed(data):
                return read(message)

    async def ask(self, message: bytes) -> tuple[str, str]:
        """The acknowledgement's code, and its words."""
        await self.send(framed(message))
        return said(await self.answer())

    async def is_hung_up(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(1), 20) == b""
        except ConnectionError:
            return True


def said(answer: Message) -> tuple[str, str]:
    words = [one.text(8) for one in answer.of("ERR")]
    return answer.of("MSA")[0].text(1), words[0] if words else ""


Connect = Callable[..., Awaitable[Peer]]


@asynccontextmanager
async def listening(world: World, tls: ssl.SSLContext | None = None, **more: Any) -> AsyncIterator[Hl7Server]:
    world.directory[0] = DirectoryIndex(parse(NAMED))
    port = {"tls_port": 0} if tls else {"port": 0}
    settings = Hl7Settings.model_validate({"host": "127.0.0.1", **port, **more})
    server = Hl7Server(settings, world.around, 1.0, shared=False, tls=(lambda: tls) if tls else None)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def peer(server: Hl7Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    port = server.tls_port if tls else server.port
    name = "localhost" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()


async def test_a_report_is_acknowledged_when_it_is_safe() -> None:
    world = make_world()
    async with listening(world) as server, peer(server) as ris:
        await ris.send(framed(oru()))
        answer = await ris.answer()
        assert said(answer) == ("AA", "")
        assert answer.of("MSA")[0].text(2) == "MSG0001"
        assert (answer.header.text(3), answer.header.text(5), answer.header.text(6)) == ("IMEX", "RIS", "RT3")
        assert {(one.source, one.study_uid, one.called_ae) for one in world.received} == {
            ("RQM", STUDY, "IMEX")
        }
        assert [one.modality for one in world.received] == ["SR", "DOC"]
        assert all(one.problem is None for one in world.received)
        [end] = world.ends
        assert (end.received, end.outcome) == (2, "released")
        identity = Identity.model_validate_json(world.received[0].identity.ciphertext)
        assert (identity.patient_id, identity.accession, identity.nhs_number) == (
            "MRN77",
            "ACC77",
            "9434765919",
        )
        first = [(one.sop_instance_uid, one.digest) for one in world.received]
        assert await ris.ask(oru()) == ("AA", "")
        assert [(one.sop_instance_uid, one.digest) for one in world.received] == first * 2
        audited = [one for one in world.audits if one.action == "instances_received"]
        assert audited[0].details["via"] == "hl7"


async def test_what_is_not_safe_is_not_acknowledged() -> None:
    world = make_world()
    async with listening(world) as server, peer(server) as ris:
        world.broker.failure = Transient("away")
        code, words = await ris.ask(oru())
        assert (code, "broker is not available" in words) == ("AE", True)
        world.broker.failure = None
        world.directory[0] = None
        assert await ris.ask(oru()) == ("AE", "there is no directory yet: send it again later")
        world.directory[0] = DirectoryIndex(parse(NAMED))
        world.doors.room = 0
        assert (await ris.ask(oru()))[0] == "AE"
        world.doors.room = None
        assert await ris.ask(oru()) == ("AA", "")


@pytest.mark.parametrize(
    ("before", "after", "code", "words"),
    [
        ("|IMEX||2026", "|IMEX|NOWHERE|2026", "AR", "neither IMEX nor a code"),
        ("|IMEX||2026", "|IMEX|RX1|2026", "AR", "agreement"),
        ("ZDS|", "ZXX|", "AE", "accession number alone"),
        ("PID|", "PI|", "AE", "no PID"),
    ],
)
async def test_what_is_not_taken_is_told_why(before: str, after: str, code: str, words: str) -> None:
    world = make_world()
    async with listening(world) as server, peer(server) as ris:
        message = oru().decode().replace(before, after).encode()
        found = await ris.ask(message)
        assert found[0] == code
        assert words in found[1]
        assert not world.received
        assert await ris.ask(oru()) == ("AA", ""), "the connection goes on"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("|RIS|RT3|", "|LIS|RT3|", "no sender of the directory"),
        ("UNICODE UTF-8", "ISO IR87", "character set"),
        ("|2.5.1|", f"|{'2' * MOST_HEADER}|", "MSH is longer"),
    ],
)
async def test_who_is_not_known_is_told_why_and_hung_up_on(before: str, after: str, words: str) -> None:
    world = make_world()
    async with listening(world) as server:
        message = oru().decode().replace(before, after).encode()
        async with peer(server) as stranger:
            code, said_why = await stranger.ask(message)
            assert (code, words in said_why) == ("AR", True)
            assert await stranger.is_hung_up()
        async with peer(server) as engine:
            assert await engine.ask(oru()) == ("AA", "")
            assert (await engine.ask(message))[0] == "AR"
            assert await engine.ask(oru()) == ("AA", ""), "one that has spoken for somebody known goes on"


async def test_strangers_leave_few_records() -> None:
    world = make_world()
    async with listening(world) as server, peer(server) as engine:
        assert await engine.ask(oru()) == ("AA", "")
        for _ in range(50):
            assert (await engine.ask(oru().replace(b"|RIS|RT3|", b"|LIS|RT3|")))[0] == "AR"
        assert 1 <= len([one for one in world.audits if one.action == "association_rejected"]) <= 20


async def test_a_stranger_s_message_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each separator takes hundreds of bytes, once it is parsed."""
    parsed: list[int] = []
    monkeypatch.setattr("imex.ingest.hl7.taking.read", lambda data: parsed.append(len(data)))
    world = make_world()
    async with listening(world) as server, peer(server) as stranger:
        bomb = b"MSH|^~\\&|X|Y|IMEX||20260101||ORU^R01|1|P|2.5\rOBX|" + b"^" * (1 * MIB)
        assert (await stranger.ask(bomb))[0] == "AR"
    assert not parsed


async def test_silent_strangers_keep_nobody_out() -> None:
    world = make_world()
    async with listening(world, connections=8) as server, peer(server) as known:
        assert await known.ask(oru()) == ("AA", "")
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(16)]
        async with peer(server) as ris:
            assert await ris.ask(oru()) == ("AA", "")
        assert await known.ask(oru()) == ("AA", ""), "who is known keeps its place"
        for _, writer in silent:
            writer.close()


async def test_it_goes_to_the_recipient_that_it_names() -> None:
    world = make_world()
    async with listening(world) as server, peer(server) as ris:
        assert await ris.ask(oru().replace(b"|IMEX||2026", b"|IMEX|RT3|2026")) == ("AA", "")
        assert {one.recipient for one in world.received} == {"RT3"}


async def test_an_enhanced_sender_gets_the_accept_acknowledgement() -> None:
    world = make_world()
    message = oru().replace(b"|P|2.5.1||||||UNICODE", b"|P|2.5.1|||AL|NE||UNICODE")
    async with listening(world) as server, peer(server) as ris:
        assert await ris.ask(message) == ("CA", "")


async def test_ten_megabytes_come_through_and_more_than_allowed_does_not() -> None:
    world = make_world()
    large = base64.b64encode(PDF + bytes(10 * MIB)).decode()
    line = f"OBX|4|ED|PDF^Report^L||^APPLICATION^PDF^Base64^{large}||||||F"
    message = oru(replaced={"OBX|4": line})
    async with listening(world) as server, peer(server) as ris:
        assert await ris.ask(message) == ("AA", "")
        assert max(one.size for one in world.received) > 10 * MIB
    async with listening(world, message_bytes=MIB, memory_bytes=MIB) as server, peer(server) as ris:
        writing = asyncio.create_task(ris.send(framed(message)))
        assert await ris.is_hung_up() or said(await ris.answer())[0] == "AR"
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        async with peer(server) as other:
            assert await other.ask(oru()) == ("AA", ""), "what was cut off holds no memory"


@pytest.mark.parametrize("stream", [b"GET / HTTP/1.1\r\n\r\n", framed(b"x")[:-1] + b"?", b"\x0bMSH|\x0bMSH|"])
async def test_what_is_no_mllp_is_told_so_and_hung_up_on(stream: bytes) -> None:
    world = make_world()
    async with listening(world) as server, peer(server) as ris:
        await ris.send(stream)
        assert said(await ris.answer())[0] == "AR"
        assert await ris.is_hung_up()


async def test_the_silent_are_hung_up_on_and_keep_nobody_waiting() -> None:
    world = make_world()
    async with (
        listening(world, message_s=0.3, idle_s=0.3) as server,
        peer(server) as idle,
        peer(server) as half,
        peer(server) as ris,
    ):
        await half.send(framed(oru())[:100])
        assert await ris.ask(oru()) == ("AA", "")
        assert await idle.is_hung_up()
        assert await half.is_hung_up()


async def test_no_more_connections_than_allowed() -> None:
    world = make_world()
    async with listening(world, connections=1) as server, peer(server) as one:
        assert await one.ask(oru()) == ("AA", "")
        async with peer(server) as other:
            assert await other.is_hung_up()


async def test_it_drains_with_an_answer() -> None:
    world = make_world()
    world.broker.delay_s = 0.2
    async with listening(world) as server, peer(server) as ris, peer(server) as idle:
        await ris.send(framed(oru()))
        answering = asyncio.create_task(ris.answer())
        await asyncio.sleep(0.05)
        await server.stop()
        assert said(await answering) == ("AA", "")
        assert await idle.is_hung_up()


async def test_with_tls_the_certificate_decides(tmp_path: Path) -> None:
    world = make_world()
    made = Certificates(tmp_path)
    shown = made.server()
    context = server_context(shown.certificate, shown.key, made.ca)

    def client(code: str) -> ssl.SSLContext:
        pair = made.client(code)
        found = ssl.create_default_context(cafile=str(made.ca))
        found.load_cert_chain(pair.certificate, pair.key)
        return found

    async with listening(world, context) as server:
        async with peer(server, client("RQM")) as ris:
            assert await ris.ask(oru()) == ("AA", "")
        async with peer(server, client("RT3")) as other:
            code, words = await other.ask(oru())
            assert (code, "may not be used with the certificate of RT3" in words) == ("AR", True)
        nobody = ssl.create_default_context(cafile=str(made.ca))
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            async with peer(server, nobody) as without:
                await without.ask(oru())


async def test_without_tls_a_name_from_anywhere_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imex.ingest.hl7.senders._is_loopback", lambda _host: False)
    world = make_world()
    async with listening(world) as server, peer(server) as ris:
        code, words = await ris.ask(oru())
        assert (code, words) == ("AR", "without TLS the directory has to name the networks of RQM")


def test_of_strangers_each_network_has_a_part_and_the_first_to_come_goes_first() -> None:
    places, gone = Places(8), []

    def come(host: str) -> None:
        place = places.take(host)
        assert place is not None
        place.end = lambda: gone.append(host)

    for host in ("2001:db8::1", "2001:db8::2", "192.0.2.1", "2001:db8::3"):
        come(host)
    assert gone == ["2001:db8::1"], "of IPv6 the first 64 bits are one network"
    for number in range(6):
        come(f"198.51.100.{number}")
    assert gone == ["2001:db8::1", "2001:db8::2"], "all places are taken"
    assert len(places) == 8


def test_where_all_are_known_nobody_has_to_go() -> None:
    places = Places(1)
    known = places.take("192.0.2.1")
    assert known is not None
    known.known = True
    assert places.take("192.0.2.2") is None
    places.leave(known)
    assert places.take("192.0.2.2") is not None


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="IMEX_HL7_MEMORY_BYTES"):
        Hl7Settings.model_validate({"memory_bytes": 1024, "message_bytes": 4096})
