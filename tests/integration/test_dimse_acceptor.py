"""The acceptor on real sockets: refusals, slow and failing sinks, limits, ends of every kind, draining."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psutil
import pytest
import uvloop

from imex.dimse import (
    AssociationAborted,
    AssociationRejected,
    ConnectionFailed,
    DimseError,
    DimseTimeout,
    Ended,
    Limits,
    Refused,
    Reject,
    StoreCommand,
    StoreResponse,
    connect,
)
from imex.dimse import pdu as codec
from imex.dimse.command import CommandField, Tag, echo_request, encode, store_request
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.raw_peer import RawPeer

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
VERIFICATION, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"
CONTEXTS = [(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]
DATA = bytes(range(256)) * 2048
FAILED = "processing failure: the receiver's log says why"


pytestmark = pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture')


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Everything on asyncio's own loop and on the one that the services run on."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


async def chunks(data: bytes = DATA) -> AsyncIterator[bytes]:
    yield data


async def store(port: int, instance: str, data: bytes = DATA) -> StoreResponse:
    async with connect("127.0.0.1", port, "A", "B", CONTEXTS) as association:
        return await association.store(CT, instance, EXPLICIT, chunks(data), len(data))


async def status(peer: RawPeer) -> tuple[int, int, str | None]:
    """Command field, status and comment of the next response."""
    answer = await peer.response()
    return answer.field, answer.require_number(Tag.STATUS), answer.text(Tag.ERROR_COMMENT)


async def test_an_instance_uid_that_is_too_long_costs_the_sender_that_instance_only() -> None:
    async with (
        acceptor(DimseRecorder()) as listening,
        connect("127.0.0.1", listening.port, "A", "B", CONTEXTS) as association,
    ):
        long = await association.store(CT, "1." + "2" * 80, EXPLICIT, chunks(), len(DATA))
        after = await association.store(CT, "1.2", EXPLICIT, chunks(), len(DATA))
    assert (long.status, long.comment) == (0x0117, "Affected SOP Instance UID is longer than 64 characters")
    assert after.status == 0


async def test_a_refused_data_set_is_read_and_the_association_goes_on() -> None:
    def refuse_first(command: StoreCommand) -> StoreResponse | None:
        return StoreResponse(0xA700, "no room") if command.sop_instance_uid == "1.1" else None

    recorder = DimseRecorder(on_store=refuse_first)
    async with acceptor(recorder) as listening:
        async with connect("127.0.0.1", listening.port, "A", "B", CONTEXTS) as association:
            first = await association.store(CT, "1.1", EXPLICIT, chunks(), len(DATA))
            second = await association.store(CT, "1.2", EXPLICIT, chunks(), len(DATA))
        await recorder.wait(lambda: bool(recorder.ended))
    assert (first, second) == (StoreResponse(0xA700, "no room"), StoreResponse(0, ""))
    assert list(recorder.stored) == ["1.2"]
    assert recorder.ended == [
        Ended("released", "the association has been released", 1, 1, 0, 2 * len(DATA), {0xA700: 1, 0: 1})
    ]


def _raising(error: Exception) -> Callable[[StoreCommand], Awaitable[None]]:
    async def raises(_: StoreCommand) -> None:
        raise error

    return raises


async def test_a_sink_that_fails_in_the_middle_or_at_the_end_is_answered_for() -> None:
    recorder = DimseRecorder(on_write=_raising(Refused(0xA700, "store unavailable")))
    async with acceptor(recorder) as listening:
        assert await store(listening.port, "1.1") == StoreResponse(0xA700, "store unavailable")
        recorder.on_write = _raising(RuntimeError("details that a peer must not see"))
        assert await store(listening.port, "1.2") == StoreResponse(0x0110, FAILED)
        assert recorder.aborted == ["1.1", "1.2"]
        recorder.on_write = None

        async def fails(_: StoreCommand) -> StoreResponse:
            raise OSError("broken")

        recorder.on_commit = fails
        assert await store(listening.port, "1.3") == StoreResponse(0x0110, FAILED)
    assert recorder.stored == {}


async def test_a_slow_commit_holds_up_nobody_else() -> None:
    released = asyncio.Event()

    async def slow(command: StoreCommand) -> StoreResponse:
        if command.sop_instance_uid == "1.1":
            await released.wait()
        return StoreResponse()

    recorder = DimseRecorder(on_commit=slow)
    async with acceptor(recorder) as listening:
        waiting = asyncio.create_task(store(listening.port, "1.1"))
        await recorder.wait(lambda: len(recorder.requests) == 1)
        answers = await asyncio.gather(*(store(listening.port, f"2.{n}") for n in range(8)))
        assert answers == [StoreResponse(0, "")] * 8
        assert not waiting.done()
        released.set()
        assert await waiting == StoreResponse(0, "")


async def test_two_hundred_associations_at_once_are_served_with_little_memory() -> None:
    recorder = DimseRecorder(keep=False)
    everybody = asyncio.Barrier(200)
    before = psutil.Process().memory_info().rss

    async def one(number: int) -> StoreResponse:
        async with connect("127.0.0.1", port, "A", "B", CONTEXTS) as association:
            await everybody.wait()
            return await association.store(CT, f"1.{number}", EXPLICIT, chunks(), len(DATA))

    async with acceptor(recorder) as listening:
        port = listening.port
        answers = await asyncio.gather(*(one(number) for number in range(200)))
        await recorder.wait(lambda: len(recorder.ended) == 200)
    assert answers == [StoreResponse(0, "")] * 200
    assert psutil.Process().memory_info().rss - before < 200 * 1024 * 1024  # both ends of all of them


async def test_more_associations_than_the_limit_are_rejected_for_now() -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder, Limits(associations=2)) as listening:
        async with (
            connect("127.0.0.1", listening.port, "A", "B", CONTEXTS),
            connect("127.0.0.1", listening.port, "A", "B", CONTEXTS),
        ):
            with pytest.raises(AssociationRejected, match="for now: local limit exceeded") as raised:
                await store(listening.port, "1.1")
            assert (raised.value.result, raised.value.source, raised.value.reason) == (2, 3, 2)
        await recorder.wait(lambda: len(recorder.ended) == 2)
        assert await store(listening.port, "1.1") == StoreResponse(0, "")


async def test_a_policy_that_fails_or_falls_asleep_is_a_temporary_congestion() -> None:
    recorder = DimseRecorder()

    def fails(_: object) -> Reject:
        raise RuntimeError("directory unreadable")

    recorder.on_admit = fails
    async with acceptor(recorder, Limits(admit_s=0.2)) as listening:
        with pytest.raises(AssociationRejected, match="temporary congestion"):
            await store(listening.port, "1.1")

        async def sleeps(_: object) -> Reject:
            await asyncio.Event().wait()
            raise AssertionError

        recorder.admit = sleeps  # type: ignore[method-assign,assignment]
        with pytest.raises(AssociationRejected, match="temporary congestion"):
            await store(listening.port, "1.1")


async def test_unknown_operations_and_wrong_classes_get_their_status() -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder) as listening:
        peer = await RawPeer.associated(listening.port)
        find = {Tag.COMMAND_FIELD: 0x0020, Tag.MESSAGE_ID: 1, Tag.DATA_SET_TYPE: 1}
        peer.command(1, encode(dict(find)))
        peer.data(1, b"query!", last=True)
        assert await status(peer) == (0x8020, 0x0211, "operation 0020 is not served here")

        peer.command(1, encode({Tag.COMMAND_FIELD: CommandField.C_CANCEL_RQ, Tag.DATA_SET_TYPE: 0x0101}))
        peer.command(1, store_request(2, "1.2.840.10008.5.1.4.1.1.4", "1.2.3"))
        peer.data(1, b"mr", last=True)
        assert (await status(peer))[:2] == (0x8001, 0x0122)

        store_without_instance = {Tag.COMMAND_FIELD: 1, Tag.MESSAGE_ID: 3, Tag.DATA_SET_TYPE: 1}
        peer.command(1, encode({**store_without_instance, Tag.AFFECTED_SOP_CLASS_UID: CT}))
        peer.data(1, b"ct", last=True)
        assert (await status(peer))[:2] == (0x8001, 0x0117)

        peer.command(3, echo_request(4, VERIFICATION))
        assert await status(peer) == (0x8030, 0, None)
        peer.writer.write(codec.encode_release_request())
        assert (await peer.pdu())[0] == 6
        peer.writer.close()
        await recorder.wait(lambda: bool(recorder.ended))
    assert recorder.ended[0].statuses == {0x0122: 1, 0x0117: 1}
    assert recorder.commands == []


@pytest.mark.parametrize("how", ["lost", "aborted", "broken", "silent", "endless", "released"])
async def test_a_data_set_that_is_cut_off_is_forgotten_and_told(how: str) -> None:
    recorder = DimseRecorder()
    limits = Limits(progress_s=0.3, dataset_bytes=100_000)
    async with acceptor(recorder, limits) as listening:
        peer = await RawPeer.associated(listening.port)
        peer.command(1, store_request(1, CT, "1.2.3"))
        peer.data(1, bytes(1000), last=False)
        await recorder.wait(lambda: bool(recorder.commands))
        expected_pdu: tuple[int, bytes] = (0, b"")
        match how:
            case "lost":
                peer.writer.transport.abort()
            case "aborted":
                peer.writer.write(codec.encode_abort(codec.Abort(0, 0)))
            case "broken":
                peer.data(3, b"of another context", last=False)
                expected_pdu = (7, b"\0\0\x02\x06")
            case "silent":
                expected_pdu = (7, b"\0\0\0\0")
            case "endless":
                for _ in range(11):
                    peer.data(1, bytes(10_000), last=False)
                expected_pdu = (7, b"\0\0\x02\x06")
            case "released":
                peer.writer.write(codec.encode_release_request())
                expected_pdu = (7, b"\0\0\x02\x02")
        assert how == "lost" or await peer.pdu() == expected_pdu
        await recorder.wait(lambda: bool(recorder.ended))
        peer.writer.close()
    kinds = {"lost": "lost", "silent": "timeout"}
    assert recorder.ended[0].kind == kinds.get(how, "aborted")
    assert (recorder.ended[0].stored, recorder.ended[0].failed) == (0, 1)
    assert recorder.aborted == ["1.2.3"]
    assert recorder.stored == {}


async def test_an_idle_association_is_ended() -> None:
    recorder = DimseRecorder()
    async with (
        acceptor(recorder, Limits(idle_s=0.3)) as listening,
        connect("127.0.0.1", listening.port, "A", "B", CONTEXTS) as association,
    ):
        assert await association.echo() == 0
        await recorder.wait(lambda: bool(recorder.ended))
        with pytest.raises(AssociationAborted):
            await association.echo()
        assert not association.usable
    assert recorder.ended[0].kind == "timeout"
    assert recorder.ended[0].reason == "no request came for 0.3 s"


async def test_a_peer_that_stops_reading_its_responses_is_dropped() -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder, Limits(write_s=0.5)) as listening:
        peer = await RawPeer.associated(listening.port)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        echo = echo_request(1, VERIFICATION)
        flood = (codec.data_header(3, len(echo), command=True, last=True) + echo) * 2000
        with pytest.raises(OSError):
            while not recorder.ended:
                peer.writer.write(flood)
                await peer.writer.drain()
            raise ConnectionResetError
        await recorder.wait(lambda: bool(recorder.ended))
        assert recorder.ended[0].kind == "timeout"
        assert await store(listening.port, "1.1") == StoreResponse(0, "")
        peer.writer.close()


async def test_draining_lets_associations_finish_and_takes_no_new_ones() -> None:
    go_on = asyncio.Event()

    async def wait(_: StoreCommand) -> None:
        await go_on.wait()

    recorder = DimseRecorder(on_write=wait)
    async with acceptor(recorder) as listening:
        storing = asyncio.create_task(store(listening.port, "1.1"))
        await recorder.wait(lambda: len(recorder.requests) == 1)
        draining = asyncio.create_task(listening.drain(10))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionFailed, match="connection refused"):
            await store(listening.port, "1.2")
        go_on.set()
        assert await storing == StoreResponse(0, "")
        await draining
    assert recorder.ended[0].kind == "released"
    assert listening.associations == listening.connections == 0


async def test_draining_aborts_what_does_not_finish() -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder) as listening:
        peer = await RawPeer.associated(listening.port)
        peer.command(1, store_request(1, CT, "1.2.3"))
        peer.data(1, bytes(1000), last=False)
        await recorder.wait(lambda: bool(recorder.commands))
        await listening.drain(0.2)
        assert await peer.pdu() == (7, bytes(4))
        peer.writer.close()
    assert recorder.aborted == ["1.2.3"]
    assert recorder.ended[0].kind == "aborted"


async def test_a_requestor_gives_up_on_a_silent_peer_and_says_so() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(DimseTimeout, match=r"no answer to the association request within 0\.2 s"):
        async with connect("127.0.0.1", port, "A", "B", CONTEXTS, Limits(associate_s=0.2)):
            raise AssertionError
    server.close()
    with pytest.raises(ConnectionFailed, match="connection refused"):
        async with connect("127.0.0.1", port, "A", "B", CONTEXTS):
            raise AssertionError


async def test_a_requestor_gives_up_on_a_response_that_does_not_come() -> None:
    never_mind = asyncio.Event()

    async def never(_: StoreCommand) -> StoreResponse:
        await never_mind.wait()
        return StoreResponse()

    recorder = DimseRecorder(on_commit=never)
    impatient = Limits(response_s=0.2)
    async with acceptor(recorder) as listening:
        with pytest.raises(DimseTimeout, match=r"no response within 0\.2 s"):
            async with connect("127.0.0.1", listening.port, "A", "B", CONTEXTS, impatient) as association:
                await association.store(CT, "1.1", EXPLICIT, chunks(), len(DATA))
        never_mind.set()


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1])
async def test_a_data_set_of_another_length_than_said_aborts_the_association(length: int) -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder) as listening:
        with pytest.raises(ValueError, match="data set"):
            async with connect("127.0.0.1", listening.port, "A", "B", CONTEXTS) as association:
                await association.store(CT, "1.1", EXPLICIT, chunks(), length)
        await recorder.wait(lambda: bool(recorder.ended))
    assert recorder.ended[0].kind == "aborted"
    assert recorder.stored == {}


async def test_a_cancelled_store_aborts_the_association() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield DATA
        await asyncio.Event().wait()

    recorder = DimseRecorder()
    async with acceptor(recorder) as listening:
        with pytest.raises(TimeoutError):
            async with connect("127.0.0.1", listening.port, "A", "B", CONTEXTS) as association:
                async with asyncio.timeout(0.2):
                    await association.store(CT, "1.1", EXPLICIT, endless(), 2 * len(DATA))
        await recorder.wait(lambda: bool(recorder.ended))
    assert recorder.aborted == ["1.1"]


async def test_an_acceptor_that_goes_away_is_an_error_in_words() -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder) as listening:
        with pytest.raises(DimseError, match="aborted by the peer"):
            async with connect("127.0.0.1", listening.port, "A", "B", CONTEXTS) as association:
                await listening.close()
                await association.store(CT, "1.1", EXPLICIT, chunks(), len(DATA))
