"""The asynchronous operations window: read in turn, made safe at the same time, answered as done."""

import asyncio
from collections.abc import Callable

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

from imex.dimse import Limits, StoreCommand, StoreResponse
from imex.dimse.command import echo_request
from imex.dimse.pdu import PduType, data_header, decode_associate_accept, encode_release_request
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.raw_peer import CT, ECHO_CONTEXT, VERIFICATION, RawPeer

DATA = bytes(100_000)


class Gates:
    """Commits that end when the test lets them."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Event] = {}
        self.recorder = DimseRecorder(keep=False, on_commit=self._commit)

    async def _commit(self, command: StoreCommand) -> StoreResponse:
        gate = self.waiting[command.sop_instance_uid] = asyncio.Event()
        self.recorder.changed.set()
        await gate.wait()
        return StoreResponse()

    async def wait(self, *instances: str) -> None:
        await self.recorder.wait(lambda: set(instances) <= set(self.waiting))

    def open(self, instance: str) -> None:
        self.waiting[instance].set()


@pytest.mark.parametrize(
    ("offered", "answered"),
    [(None, None), ((1, 1), (1, 1)), ((3, 9), (3, 1)), ((0, 0), (8, 1)), ((65535, 1), (8, 1))],
)
async def test_a_window_is_answered_with_what_is_kept(
    offered: tuple[int, int] | None, answered: tuple[int, int] | None
) -> None:
    async with acceptor(DimseRecorder()) as listening:
        peer = await RawPeer.associated(listening.port, window=offered)
        accepted = decode_associate_accept(peer.accepted, Limits())
        assert accepted.user_information.async_window == answered
        peer.writer.close()


async def test_operations_are_made_safe_at_the_same_time_and_answered_as_they_are_done() -> None:
    gates = Gates()
    async with acceptor(gates.recorder) as listening:
        peer = await RawPeer.associated(listening.port, window=(3, 1))
        for number in (1, 2, 3, 4):
            peer.store(number, f"1.{number}", DATA)
        await gates.wait("1.1", "1.2", "1.3")
        assert len(gates.recorder.commands) == 3, "the fourth waits for a place"
        gates.open("1.2")
        assert await peer.answer() == (2, 0, None)
        await gates.wait("1.4")
        for number in (4, 1, 3):
            gates.open(f"1.{number}")
            assert await peer.answer() == (number, 0, None)
        peer.writer.close()


async def test_without_a_window_operations_come_one_after_the_other() -> None:
    gates = Gates()
    async with acceptor(gates.recorder) as listening:
        peer = await RawPeer.associated(listening.port)
        peer.store(1, "1.1", DATA)
        peer.store(2, "1.2", DATA)
        await gates.wait("1.1")
        assert len(gates.recorder.commands) == 1
        gates.open("1.1")
        assert await peer.answer() == (1, 0, None)
        await gates.wait("1.2")
        gates.open("1.2")
        assert await peer.answer() == (2, 0, None)
        peer.writer.close()


async def test_a_release_is_answered_after_all_operations() -> None:
    gates = Gates()
    async with acceptor(gates.recorder) as listening:
        peer = await RawPeer.associated(listening.port, window=(0, 0))
        for number in (1, 2):
            peer.store(number, f"1.{number}", DATA)
        peer.writer.write(encode_release_request())
        await gates.wait("1.1", "1.2")
        gates.open("1.2")
        gates.open("1.1")
        assert {(await peer.answer())[0] for _ in range(2)} == {1, 2}
        assert (await peer.pdu())[0] == PduType.RELEASE_RP
        peer.writer.close()
        await gates.recorder.wait(lambda: bool(gates.recorder.ended))
    assert (gates.recorder.ended[0].kind, gates.recorder.ended[0].stored) == ("released", 2)


def _lost(peer: RawPeer) -> None:
    peer.writer.transport.abort()


def _broken(peer: RawPeer) -> None:
    peer.writer.write(b"\x09\x00\x00\x00\x00\x00")


@pytest.mark.parametrize(("how", "kind"), [(_lost, "lost"), (_broken, "aborted")])
async def test_the_end_is_told_when_what_was_complete_is_safe(
    how: Callable[[RawPeer], None], kind: str
) -> None:
    gates = Gates()
    async with acceptor(gates.recorder) as listening:
        peer = await RawPeer.associated(listening.port, window=(0, 0))
        for number in (1, 2):
            peer.store(number, f"1.{number}", DATA)
        await gates.wait("1.1", "1.2")
        how(peer)
        assert (await peer.pdu())[0] == (PduType.ABORT if kind == "aborted" else 0)
        gates.open("1.1")
        await gates.recorder.wait(lambda: "1.1" in gates.recorder.stored)
        assert not gates.recorder.ended
        gates.open("1.2")
        await gates.recorder.wait(lambda: bool(gates.recorder.ended))
        ended = gates.recorder.ended[0]
        assert (ended.kind, ended.stored, ended.failed) == (kind, 2, 0)
        peer.writer.close()


async def test_a_message_id_that_is_under_way_is_not_taken_twice() -> None:
    gates = Gates()
    async with acceptor(gates.recorder) as listening:
        peer = await RawPeer.associated(listening.port, window=(0, 0))
        peer.store(7, "1.1", DATA)
        peer.store(7, "1.2", DATA)
        assert await peer.answer() == (7, 0x0210, "message id of an operation under way")
        await gates.wait("1.1")
        gates.open("1.1")
        assert await peer.answer() == (7, 0, None)
        peer.writer.close()
    assert list(gates.recorder.stored) == ["1.1"]


async def test_an_acceptor_that_closes_leaves_no_operation_behind() -> None:
    gates = Gates()
    async with acceptor(gates.recorder) as listening:
        peer = await RawPeer.associated(listening.port, window=(0, 0))
        for number in (1, 2):
            peer.store(number, f"1.{number}", DATA)
        await gates.wait("1.1", "1.2")
    # the gates stay shut: closing cancels what is late, and hears of the end all the same
    assert len(gates.recorder.ended) == 1
    peer.writer.close()


async def test_pynetdicom_negotiates_a_window() -> None:
    async with acceptor(DimseRecorder()) as listening:

        def negotiate() -> tuple[int, int]:
            entity = AE()
            entity.add_requested_context(CT)
            item = AsynchronousOperationsWindowNegotiation()
            item.maximum_number_operations_invoked = 5
            item.maximum_number_operations_performed = 2
            association = entity.associate("127.0.0.1", listening.port, ext_neg=[item])
            assert association.is_established
            answers = [
                answer
                for answer in association.acceptor.user_information
                if isinstance(answer, AsynchronousOperationsWindowNegotiation)
            ]
            association.release()
            return (
                answers[0].maximum_number_operations_invoked,
                answers[0].maximum_number_operations_performed,
            )

        assert await asyncio.to_thread(negotiate) == (5, 1)


async def test_a_command_set_beyond_the_limit_ends_the_association() -> None:
    async with acceptor(DimseRecorder()) as listening:
        peer = await RawPeer.associated(listening.port)
        for _ in range(3):
            piece = bytes(8000)
            peer.writer.write(data_header(1, len(piece), command=True, last=False) + piece)
        assert await peer.pdu() == (PduType.ABORT, bytes((0, 0, 2, 6)))
        peer.writer.close()


async def test_a_peer_that_does_not_wait_for_answers_leaves_others_their_turn() -> None:
    async with acceptor(DimseRecorder()) as listening:
        hasty, other = await RawPeer.associated(listening.port), await RawPeer.associated(listening.port)
        for number in range(2000):
            hasty.command(ECHO_CONTEXT, echo_request(number + 1, VERIFICATION))
        await hasty.answer()
        other.command(ECHO_CONTEXT, echo_request(1, VERIFICATION))
        reading = asyncio.create_task(_answers(hasty, 1999))
        await other.answer()
        assert not reading.done(), "it did not have to wait for all of the others"
        assert await reading == list(range(2, 2001))
        hasty.writer.close()
        other.writer.close()


async def _answers(peer: RawPeer, count: int) -> list[int]:
    return [(await peer.answer())[0] for _ in range(count)]
