"""The queue before the reader: order and bytes as they came, whatever their cut, within bounds."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.dimse.errors import ProtocolError
from imex.dimse.inbox import Fragment, Inbox, ReleaseRequested
from imex.dimse.limits import Limits

Piece = tuple[int, bool, bool, bytes]
PIECES = st.lists(
    st.tuples(
        st.sampled_from((1, 3)),
        st.booleans(),
        st.booleans(),
        st.binary(max_size=40) | st.integers(500, 1500).map(bytes),
    ),
    max_size=60,
)


class Reading(asyncio.ReadTransport):
    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def taken(inbox: Inbox) -> list[Fragment]:
    found = []
    while (indication := inbox.take()) is not None:
        assert isinstance(indication, Fragment)
        found.append(indication)
    return found


def joined(fragments: Sequence[Piece | Fragment]) -> list[Piece]:
    """Neighbours of one message in one piece."""
    whole: list[Piece] = []
    for context_id, command, last, data in fragments:
        goes_on = bool(whole) and whole[-1][:3] == (context_id, command, False)
        before = whole.pop()[3] if goes_on else b""
        if before or data or last:
            whole.append((context_id, command, last, before + bytes(data)))
    return whole


@given(PIECES, st.integers(1, 20))
def test_what_is_taken_is_what_was_put(pieces: list[Piece], take_every: int) -> None:
    inbox = Inbox(Limits())
    found: list[Fragment] = []
    for number, piece in enumerate(pieces):
        inbox.put_fragment(*piece[:3], memoryview(piece[3]))
        if number % take_every == 0:
            found += taken(inbox)
    found += taken(inbox)
    assert joined(found) == joined(pieces)


def test_small_pieces_are_gathered_and_the_release_stays_behind_them() -> None:
    inbox = Inbox(Limits())
    for _ in range(1000):
        inbox.put_fragment(1, False, False, memoryview(b"x"))
    inbox.put(ReleaseRequested())
    first, second, third = inbox.take(), inbox.take(), inbox.take()
    assert isinstance(first, Fragment)
    assert bytes(first.data) == b"x" * 1000
    assert (second, third) == (ReleaseRequested(), None)


@pytest.mark.parametrize("last", [True, False])
def test_more_pieces_than_may_wait_break_the_protocol(last: bool) -> None:
    inbox = Inbox(Limits(indications=100))
    with pytest.raises(ProtocolError, match="more than 100 fragments"):
        for number in range(102):
            inbox.put_fragment(1 + 2 * (number % 2), True, last, memoryview(b""))


def test_reading_stops_for_many_small_pieces_as_for_a_few_large_ones() -> None:
    for data, count in ((bytes(1000), 10), (b"x", 30)):
        inbox, transport = Inbox(Limits(receive_window=10_000)), Reading()
        inbox.connected(transport)
        for _ in range(count):
            inbox.put_fragment(1, True, True, memoryview(data))
            inbox.hold_back()
        assert transport.paused
        taken(inbox)
        assert not transport.paused
