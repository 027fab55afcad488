"""The upper layer driven through every cell of PS3.8 table 9-10, in real bytes, by a clock that stands still.

For each state there is a way into it, for each event a way to make it happen, for each action what tables
9-6 to 9-9 want to be seen of it. That the cells are those of the standard is compared elsewhere.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

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
from imex.dimse.inbox import Fragment, Indication, ReleaseConfirmed, ReleaseRequested
from imex.dimse.state import TABLE, Action, Event, InvalidTransition, State, step
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

REJECT = pdu.AssociateReject(1, 1, 3)
RJ = pdu.encode_associate_reject(REJECT)
UNKNOWN = b"\x09\x00\x00\x00\x00\x00"
UNRECOGNISED = pdu.encode_abort(pdu.Abort(2, 1))
LONG = 10 * LIMITS.artim_s


def unconnected() -> Peer:
    return Peer(connect=False)


def connecting() -> Peer:
    return Peer(requestor=True, connect=False)


def awaiting_answer() -> Peer:
    return Peer(requestor=True)


def asked() -> Peer:
    peer = Peer()
    peer.brings(RQ)
    return peer


def releasing(peer: Peer) -> Peer:
    peer.layer.request_release()
    return peer


def being_released(peer: Peer) -> Peer:
    peer.brings(RELEASE_RQ)
    return peer


def answering_the_collision() -> Peer:
    peer = being_released(releasing(requested()))
    peer.layer.respond_release()
    return peer


def answered_in_the_collision() -> Peer:
    peer = being_released(releasing(accepted()))
    peer.brings(RELEASE_RP)
    return peer


def rejected() -> Peer:
    peer = asked()
    peer.layer.reject(REJECT)
    return peer


def released() -> Peer:
    peer = being_released(accepted())
    peer.layer.respond_release()
    return peer


def aborting() -> Peer:
    peer = requested()
    peer.layer.abort(AssociationAborted(0, 0, "we stop"))
    return peer


WAYS: dict[str, tuple[State, Callable[[], Peer]]] = {
    "Sta1": (State.IDLE, unconnected),
    "Sta2": (State.AWAITING_ASSOCIATE_RQ, Peer),
    "Sta3": (State.AWAITING_LOCAL_ASSOCIATE_RESPONSE, asked),
    "Sta4": (State.AWAITING_TRANSPORT, connecting),
    "Sta5": (State.AWAITING_ASSOCIATE_AC, awaiting_answer),
    "Sta6, acceptor": (State.ESTABLISHED, accepted),
    "Sta6, requestor": (State.ESTABLISHED, requested),
    "Sta7, acceptor": (State.AWAITING_RELEASE_RP, lambda: releasing(accepted())),
    "Sta7, requestor": (State.AWAITING_RELEASE_RP, lambda: releasing(requested())),
    "Sta8, acceptor": (State.AWAITING_LOCAL_RELEASE_RESPONSE, lambda: being_released(accepted())),
    "Sta8, requestor": (State.AWAITING_LOCAL_RELEASE_RESPONSE, lambda: being_released(requested())),
    "Sta9": (State.COLLISION_REQUESTOR_LOCAL, lambda: being_released(releasing(requested()))),
    "Sta10": (State.COLLISION_ACCEPTOR_PEER, lambda: being_released(releasing(accepted()))),
    "Sta11": (State.COLLISION_REQUESTOR_PEER, answering_the_collision),
    "Sta12": (State.COLLISION_ACCEPTOR_LOCAL, answered_in_the_collision),
    "Sta13, rejected": (State.AWAITING_CLOSE, rejected),
    "Sta13, released": (State.AWAITING_CLOSE, released),
    "Sta13, aborted": (State.AWAITING_CLOSE, aborting),
}

MAKE: dict[Event, Callable[[Peer], object]] = {
    Event.TRANSPORT_CONFIRMED: lambda peer: peer.layer.connection_made(peer.transport),
    Event.ASSOCIATE_AC: lambda peer: peer.brings(AC),
    Event.ASSOCIATE_RJ: lambda peer: peer.brings(RJ),
    Event.TRANSPORT_INDICATED: lambda peer: peer.layer.connection_made(peer.transport),
    Event.ASSOCIATE_RQ: lambda peer: peer.brings(RQ),
    Event.ACCEPT: lambda peer: peer.layer.accept(ACCEPT),
    Event.REJECT: lambda peer: peer.layer.reject(REJECT),
    Event.DATA_REQUEST: lambda peer: peer.layer.send([DATA]),
    Event.DATA_TF: lambda peer: peer.brings(DATA),
    Event.RELEASE_REQUEST: lambda peer: peer.layer.request_release(),
    Event.RELEASE_RQ: lambda peer: peer.brings(RELEASE_RQ),
    Event.RELEASE_RP: lambda peer: peer.brings(RELEASE_RP),
    Event.RELEASE_RESPONSE: lambda peer: peer.layer.respond_release(),
    Event.ABORT_REQUEST: lambda peer: peer.layer.abort(AssociationAborted(0, 0, "enough")),
    Event.ABORT: lambda peer: peer.brings(USER_ABORT),
    Event.TRANSPORT_CLOSED: lambda peer: peer.layer.connection_lost(None),
    Event.ARTIM_EXPIRED: lambda peer: peer.clock.advance(LIMITS.artim_s),
    Event.INVALID_PDU: lambda peer: peer.brings(UNKNOWN),
}
"""Event 1 is an upper layer with a request: how Sta4 is reached."""

PRIMITIVES = {
    Event.ACCEPT,
    Event.REJECT,
    Event.DATA_REQUEST,
    Event.RELEASE_REQUEST,
    Event.RELEASE_RESPONSE,
}


@dataclass(frozen=True)
class Seen:
    """What an action lets be seen: bytes, an indication, an end, how it is closed, and whether ARTIM runs."""

    sent: bytes = b""
    indicated: type[Indication] | None = None
    end: type[DimseError] | None = None
    closed: str = ""
    artim: bool | None = False
    """None: as it was before."""


LOOK: dict[Action, Seen] = {
    Action.AE_2: Seen(sent=RQ),
    Action.AE_3: Seen(indicated=pdu.AssociateAccept),
    Action.AE_4: Seen(end=AssociationRejected, closed="close"),
    Action.AE_5: Seen(artim=True),
    Action.AE_6: Seen(),
    Action.AE_7: Seen(sent=AC),
    Action.AE_8: Seen(sent=RJ, end=AssociationRejected, artim=True),
    Action.DT_1: Seen(sent=DATA),
    Action.DT_2: Seen(indicated=Fragment),
    Action.AR_1: Seen(sent=RELEASE_RQ),
    Action.AR_2: Seen(indicated=ReleaseRequested),
    Action.AR_3: Seen(indicated=ReleaseConfirmed, end=AssociationReleased, closed="close"),
    Action.AR_4: Seen(sent=RELEASE_RP, end=AssociationReleased, artim=True),
    Action.AR_5: Seen(),
    Action.AR_6: Seen(indicated=Fragment),
    Action.AR_7: Seen(sent=DATA),
    Action.AR_8: Seen(indicated=ReleaseRequested),
    Action.AR_9: Seen(sent=RELEASE_RP),
    Action.AR_10: Seen(indicated=ReleaseConfirmed),
    Action.AA_1: Seen(sent=USER_ABORT, artim=True),
    Action.AA_2: Seen(closed="abort"),
    Action.AA_3: Seen(end=AssociationAborted, closed="close"),
    Action.AA_4: Seen(end=ConnectionLost),
    Action.AA_5: Seen(end=ConnectionLost),
    Action.AA_6: Seen(artim=None),
    Action.AA_7: Seen(sent=USER_ABORT, artim=None),
    Action.AA_8: Seen(sent=UNEXPECTED, end=ProtocolError, artim=True),
}
ENDS: dict[tuple[Action, Event], type[DimseError]] = {
    (Action.AA_1, Event.ABORT_REQUEST): AssociationAborted,
    (Action.AA_2, Event.ABORT_REQUEST): AssociationAborted,
    (Action.AA_2, Event.ABORT): DimseTimeout,
    (Action.AA_2, Event.ARTIM_EXPIRED): DimseTimeout,
}
"""Of actions that come about in different ways; ProtocolError otherwise."""


async def taken(peer: Peer) -> list[Indication]:
    """Everything that waits for the user."""
    found: list[Indication] = []
    while True:
        receiving = asyncio.create_task(peer.layer.receive(10_000, "silence"))
        await asyncio.sleep(0)
        if not receiving.done():
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            return found
        if receiving.exception() is not None:
            return found
        found.append(receiving.result())


def is_blank(state: State, event: Event) -> bool:
    return (state, event) not in TABLE


def cells() -> list[tuple[str, Event]]:
    return [(way, event) for way, (state, _) in WAYS.items() for event in MAKE if not is_blank(state, event)]


def test_every_cell_of_the_table_is_driven() -> None:
    driven = {(WAYS[way][0], event) for way, event in cells()}
    assert set(TABLE) - driven == {(State.IDLE, Event.ASSOCIATE_REQUEST)}
    assert set(LOOK) == set(Action) - {Action.AE_1}


@pytest.mark.parametrize(("way", "event"), cells())
async def test_a_cell_does_what_its_action_says(way: str, event: Event) -> None:
    state, reach = WAYS[way]
    peer = reach()
    assert peer.layer.state is state
    await taken(peer)
    peer.sent()
    ended_before, ran_before = peer.layer.end, state is State.AWAITING_CLOSE
    requestor = peer.layer.requestor
    action, following = step(state, event, requestor=requestor)

    MAKE[event](peer)

    look = LOOK[action]
    assert peer.layer.state is following
    sent = peer.sent()
    assert sent == look.sent or (event is Event.INVALID_PDU and sent in (UNRECOGNISED, USER_ABORT))
    assert [type(one) for one in await taken(peer)] == ([look.indicated] if look.indicated else [])
    assert peer.transport.closed == ("" if state is State.AWAITING_TRANSPORT else look.closed)
    if ended_before is not None:
        assert peer.layer.end is ended_before, "the first end counts"
    elif action in (Action.AA_1, Action.AA_2):
        assert type(peer.layer.end) is ENDS.get((action, event), ProtocolError)
    else:
        assert (type(peer.layer.end) if peer.layer.end else None) is look.end
    assert peer.closed == (event is Event.TRANSPORT_CLOSED)
    if action is Action.AE_6:
        assert peer.requests == [REQUEST]

    if look.closed or event is Event.TRANSPORT_CLOSED:
        return
    peer.clock.advance(LONG)
    runs = ran_before if look.artim is None else look.artim
    assert peer.transport.closed == ("abort" if runs else "")
    assert peer.layer.state is (State.IDLE if runs else following)


@pytest.mark.parametrize(
    ("way", "event"),
    [
        (way, event)
        for way, (state, _) in WAYS.items()
        for event in (*PRIMITIVES, Event.ABORT_REQUEST)
        if is_blank(state, event) and state is not State.IDLE
    ],
)
async def test_what_the_state_does_not_allow_its_user_changes_nothing(way: str, event: Event) -> None:
    state, reach = WAYS[way]
    peer = reach()
    await taken(peer)
    peer.sent()
    if event is Event.ABORT_REQUEST:
        MAKE[event](peer)  # may be said at any time
    else:
        with pytest.raises((InvalidTransition, DimseError)):
            MAKE[event](peer)
    assert peer.layer.state is state
    assert peer.sent() == b""
    assert peer.transport.closed == ""


@pytest.mark.parametrize(
    "way",
    [way for way, (state, _) in WAYS.items() if is_blank(state, Event.ARTIM_EXPIRED) and way != "Sta1"],
)
async def test_artim_does_not_run_where_the_table_does_not_let_it_expire(way: str) -> None:
    state, reach = WAYS[way]
    peer = reach()
    peer.clock.advance(LONG)
    assert peer.layer.state is state
    assert peer.transport.closed == ""


def test_a_connection_that_comes_about_after_all_is_closed() -> None:
    peer = connecting()
    peer.layer.abort(AssociationAborted(0, 0, "enough"))
    peer.layer.connection_made(peer.transport)
    assert peer.transport.closed == "abort"
    assert peer.sent() == b""


def test_a_request_that_the_provider_cannot_accept_is_rejected_and_artim_runs() -> None:
    peer = Peer()
    peer.turn_down = REJECT
    peer.brings(RQ)
    assert peer.sent() == RJ
    assert peer.requests == []
    peer.clock.advance(LIMITS.artim_s)
    assert peer.transport.closed == "abort"
