"""The upper layer on a fake transport and a fake clock: what is sent, when it closes, and who hears what."""

import asyncio
from typing import Any

import pytest

from imex.dimse import pdu
from imex.dimse.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationReleased,
    ConnectionLost,
    DimseError,
    DimseTimeout,
    ProtocolError,
)
from imex.dimse.inbox import Fragment, ReleaseConfirmed, ReleaseRequested
from imex.dimse.limits import Limits
from imex.dimse.state import State
from imex.testing.upper_layer import (
    AC,
    ACCEPT,
    DATA,
    LIMITS,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST,
    RQ,
    UNEXPECTED,
    USER_ABORT,
    Peer,
    accepted,
    requested,
)

PART = pdu.data_header(1, 4, command=True, last=False) + b"data"


async def end_of(peer: Peer) -> DimseError:
    with pytest.raises(DimseError) as raised:
        while True:
            await peer.layer.receive(50, "silence")
    return raised.value


def test_an_acceptor_indicates_the_request_and_sends_the_answer() -> None:
    peer = Peer()
    peer.brings(RQ)
    assert peer.requests == [REQUEST]
    assert peer.layer.peer == ("192.0.2.1", 104)
    peer.layer.accept(ACCEPT)
    assert peer.sent() == AC
    assert peer.layer.state is State.ESTABLISHED


def test_a_silent_connection_is_closed_when_artim_expires() -> None:
    peer = Peer()
    peer.clock.advance(14.9)
    assert not peer.transport.is_closing()
    peer.clock.advance(0.2)
    assert peer.transport.closed == "abort"
    assert peer.layer.state is State.IDLE


def test_a_rejected_peer_has_until_artim_to_close() -> None:
    peer = Peer()
    peer.brings(RQ)
    peer.layer.reject(pdu.AssociateReject(1, 1, 3))
    assert peer.sent() == pdu.encode_associate_reject(pdu.AssociateReject(1, 1, 3))
    assert not peer.transport.is_closing()
    peer.clock.advance(15.1)
    assert peer.transport.closed == "abort"


def test_the_provider_turns_a_request_down_without_asking_the_user() -> None:
    peer = Peer()
    peer.turn_down = pdu.AssociateReject(2, 3, 1)
    peer.brings(RQ)
    assert peer.requests == []
    assert peer.sent() == pdu.encode_associate_reject(peer.turn_down)
    assert peer.layer.state is State.AWAITING_CLOSE


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x04\x00\xff\xff\xff\xff", b"\x01\x00\x00\x00\x00\x02ab", DATA],
)
def test_garbage_instead_of_a_request_is_answered_with_an_abort(garbage: bytes) -> None:
    peer = Peer()
    peer.brings(garbage)
    assert peer.sent() == USER_ABORT  # AA-1
    assert peer.layer.state is State.AWAITING_CLOSE
    peer.brings(bytes(100_000))
    assert len(peer.sent()) <= len(USER_ABORT)  # AA-7, and after that nothing is even parsed
    peer.clock.advance(15.1)
    assert peer.transport.closed == "abort"


@pytest.mark.parametrize(
    ("wire", "abort"),
    [
        (RQ, pdu.Abort(2, 2)),
        (AC, pdu.Abort(2, 2)),
        (RELEASE_RP, pdu.Abort(2, 2)),
        (b"\x09\x00\x00\x00\x00\x00", pdu.Abort(2, 1)),
        (b"\x04\x00\xff\xff\xff\xff", pdu.Abort(2, 6)),
    ],
)
async def test_a_broken_protocol_is_answered_with_an_abort_that_says_why(
    wire: bytes, abort: pdu.Abort
) -> None:
    peer = accepted()
    peer.brings(wire)
    assert peer.sent() == pdu.encode_abort(abort)
    assert isinstance(await end_of(peer), ProtocolError)


async def test_data_before_the_answer_is_unexpected() -> None:
    peer = Peer()
    peer.brings(RQ + DATA)
    assert peer.sent() == UNEXPECTED
    with pytest.raises(ProtocolError):
        peer.layer.accept(ACCEPT)


async def test_what_came_before_the_end_is_taken_before_the_end() -> None:
    peer = accepted()
    peer.brings(DATA + pdu.encode_abort(pdu.Abort(2, 1)))
    received = await peer.layer.receive(50, "silence")
    assert isinstance(received, Fragment)
    assert bytes(received.data) == b"data"
    end = await end_of(peer)
    assert isinstance(end, AssociationAborted)
    assert (end.source, end.reason) == (2, 1)
    assert peer.transport.closed == "close"


async def test_a_release_is_indicated_answered_and_waited_for() -> None:
    peer = accepted()
    peer.brings(RELEASE_RQ)
    assert await peer.layer.receive(50, "silence") == ReleaseRequested()
    peer.layer.respond_release()
    assert peer.sent() == RELEASE_RP
    assert isinstance(await end_of(peer), AssociationReleased)
    assert not peer.transport.is_closing()
    peer.layer.connection_lost(None)
    assert peer.closed == 1
    assert peer.layer.state is State.IDLE


async def test_data_can_still_be_sent_while_being_released() -> None:
    peer = accepted()
    peer.brings(RELEASE_RQ)
    peer.layer.send([DATA])
    assert peer.sent() == DATA


async def test_a_requestor_releases_and_closes() -> None:
    peer = requested()
    assert await peer.layer.receive(50, "silence") == ACCEPT
    peer.layer.request_release()
    assert peer.sent() == RELEASE_RQ
    peer.brings(DATA + RELEASE_RP)
    assert isinstance(await peer.layer.receive(50, "silence"), Fragment)
    assert await peer.layer.receive(50, "silence") == ReleaseConfirmed()
    assert peer.transport.closed == "close"


async def test_a_release_collision_on_the_requestors_side() -> None:
    peer = requested()
    await peer.layer.receive(50, "silence")
    peer.layer.request_release()
    peer.brings(RELEASE_RQ)
    assert await peer.layer.receive(50, "silence") == ReleaseRequested()
    peer.layer.respond_release()
    assert peer.sent() == RELEASE_RQ + RELEASE_RP
    assert peer.layer.state is State.COLLISION_REQUESTOR_PEER
    peer.brings(RELEASE_RP)
    assert await peer.layer.receive(50, "silence") == ReleaseConfirmed()
    assert peer.transport.closed == "close"


async def test_a_release_collision_on_the_acceptors_side() -> None:
    peer = accepted()
    peer.layer.request_release()
    peer.brings(RELEASE_RQ)
    assert await peer.layer.receive(50, "silence") == ReleaseRequested()
    peer.brings(RELEASE_RP)
    assert await peer.layer.receive(50, "silence") == ReleaseConfirmed()
    peer.layer.respond_release()
    assert peer.sent() == RELEASE_RQ + RELEASE_RP
    assert peer.layer.state is State.AWAITING_CLOSE


async def test_aborts_that_cross_leave_one_end() -> None:
    peer = accepted()
    peer.layer.abort(AssociationAborted(0, 0, "we stop"))
    assert peer.sent() == USER_ABORT
    peer.brings(USER_ABORT)
    assert peer.transport.closed == "abort"
    assert str(await end_of(peer)) == "we stop"


async def test_a_rejection_has_its_reason_in_words() -> None:
    peer = Peer(requestor=True)
    peer.brings(pdu.encode_associate_reject(pdu.AssociateReject(1, 1, 7)))
    end = await end_of(peer)
    assert isinstance(end, AssociationRejected)
    assert str(end) == "association rejected permanently: called AE title not recognised"
    assert peer.transport.closed == "close"


async def test_a_lost_connection_ends_everything_once() -> None:
    peer = accepted()
    peer.layer.connection_lost(ConnectionResetError())
    assert isinstance(await end_of(peer), ConnectionLost)
    assert peer.closed == 1
    with pytest.raises(ConnectionLost):
        peer.layer.send([DATA])


async def _waiting(peer: Peer, *, within_message: bool) -> "asyncio.Task[Any]":
    seconds = LIMITS.progress_s if within_message else LIMITS.idle_s
    task = asyncio.create_task(peer.layer.receive(seconds, "silence", within_message=within_message))
    await asyncio.sleep(0)
    return task


async def test_an_idle_association_is_aborted_at_its_deadline() -> None:
    peer = accepted()
    task = await _waiting(peer, within_message=False)
    peer.clock.advance(49.9)
    assert peer.sent() == b""
    peer.clock.advance(0.2)
    assert peer.sent() == USER_ABORT
    with pytest.raises(DimseTimeout, match="silence"):
        await task


async def test_a_peer_that_trickles_within_a_message_is_aborted() -> None:
    peer = accepted()
    peer.brings(PART)
    await peer.layer.receive(50, "silence")
    task = await _waiting(peer, within_message=True)
    for _ in range(2):  # 16 bytes each with their header: enough for a window of 30 s
        peer.clock.advance(25)
        peer.brings(PART)
        await task
        task = await _waiting(peer, within_message=True)
    peer.brings(PART[:5])
    peer.clock.advance(29)
    assert peer.sent() == b""
    peer.brings(PART[5:7])
    peer.clock.advance(32)
    assert peer.sent() == USER_ABORT
    with pytest.raises(DimseTimeout):
        await task


async def test_the_time_that_a_sink_takes_is_not_held_against_the_peer() -> None:
    peer = accepted()
    peer.brings(PART)
    await peer.layer.receive(50, "silence")
    task = await _waiting(peer, within_message=True)
    peer.brings(PART)
    await task
    peer.clock.advance(1000)
    task = await _waiting(peer, within_message=True)
    peer.clock.advance(29)
    assert peer.sent() == b""
    peer.clock.advance(2)
    assert peer.sent() == USER_ABORT
    with pytest.raises(DimseTimeout):
        await task


async def test_reading_stops_while_too_much_waits_to_be_taken() -> None:
    peer = accepted()
    big = pdu.data_header(1, 600, command=False, last=False) + bytes(600)
    peer.brings(big)
    assert not peer.transport.paused
    peer.brings(big)
    assert peer.transport.paused
    await peer.layer.receive(50, "silence")
    assert peer.transport.paused
    await peer.layer.receive(50, "silence")
    assert not peer.transport.paused


async def test_a_peer_that_does_not_read_is_dropped_at_the_write_deadline() -> None:
    peer = accepted()
    peer.layer.pause_writing()
    draining = asyncio.create_task(peer.layer.drain())
    peer.clock.advance(19.9)
    assert not peer.transport.is_closing()
    peer.clock.advance(0.2)
    assert peer.transport.closed == "abort"
    with pytest.raises(DimseTimeout, match="read nothing"):
        await draining


async def test_a_peer_that_reads_slowly_is_not_dropped() -> None:
    peer = accepted()
    peer.layer.pause_writing()
    for _ in range(5):
        peer.clock.advance(15)
        peer.transport.unsent -= 1000
    assert not peer.transport.is_closing()
    peer.clock.advance(41)
    assert peer.transport.is_closing()


async def test_writing_goes_on_when_the_peer_reads_again() -> None:
    peer = accepted()
    peer.layer.pause_writing()
    draining = asyncio.create_task(peer.layer.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    peer.layer.resume_writing()
    await draining
    peer.clock.advance(25)
    assert not peer.transport.is_closing()


async def test_a_timed_out_peer_may_not_linger_by_sending_requests() -> None:
    peer = accepted()
    peer.layer.abort(AssociationAborted(0, 0, "we stop"))
    for _ in range(3):
        peer.clock.advance(4.9)
        peer.brings(RQ)
    peer.clock.advance(0.5)
    assert peer.transport.closed == "abort"


async def test_a_silent_peer_is_gone_soon_after_its_deadline() -> None:
    assert Limits().idle_s + Limits().close_s < 60
    peer = accepted()
    task = await _waiting(peer, within_message=False)
    peer.clock.advance(LIMITS.idle_s)
    with pytest.raises(DimseTimeout):
        await task
    peer.clock.advance(LIMITS.close_s + 0.1)
    assert peer.transport.closed == "abort"


async def test_a_connection_that_is_closed_but_not_read_is_dropped() -> None:
    for wire in (USER_ABORT, b""):
        peer = accepted()
        if wire:
            peer.brings(wire)
            assert peer.transport.closed == "close"
        else:
            peer.layer.eof_received()
        peer.transport.closed = ""
        peer.clock.advance(LIMITS.close_s + 0.1)
        assert peer.transport.closed == "abort"


async def test_an_ended_peer_that_reads_no_aborts_is_sent_no_more_of_them() -> None:
    peer = accepted()
    peer.layer.abort(AssociationAborted(0, 0, "we stop"))
    peer.sent()
    peer.brings(RQ)
    assert peer.sent() != b""
    peer.layer.pause_writing()
    peer.brings(RQ * 100)
    assert peer.sent() == b""


@pytest.mark.parametrize("ours", [True, False])
def test_an_ended_peer_that_goes_on_sending_is_cut_off(ours: bool) -> None:
    peer = accepted(Limits(ended_bytes=1_000_000))
    if ours:
        peer.layer.abort(AssociationAborted(0, 0, "we stop"))
    else:
        peer.brings(RQ)
    long = pdu.data_header(1, 60_000, command=False, last=False) + bytes(60_000)
    peer.brings(long * 10)
    assert not peer.transport.is_closing()
    peer.brings(long * 10)
    assert peer.transport.closed == "abort"


@pytest.mark.parametrize("piece", [DATA, RQ, RELEASE_RP])
def test_an_ended_peer_that_goes_on_in_small_pieces_is_cut_off(piece: bytes) -> None:
    peer = accepted(Limits(ended_pieces=100))
    peer.layer.abort(AssociationAborted(0, 0, "we stop"))
    peer.brings(piece * 50)
    assert not peer.transport.is_closing()
    peer.brings(piece * 60)
    assert peer.transport.closed == "abort"
