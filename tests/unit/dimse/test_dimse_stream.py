"""The stream parser: one result however the bytes arrive, caps, only ProtocolError for garbage."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.dimse.errors import AbortReason, ProtocolError
from imex.dimse.limits import Limits
from imex.dimse.pdu import PduType, data_header, encode_release_request
from imex.dimse.stream import PduStream

LIMITS = Limits()


class Collected:
    def __init__(self) -> None:
        self.pdus: list[tuple[PduType, bytes]] = []
        self.data_pdus = 0
        self.fragments: list[tuple[int, bool, bool, memoryview]] = []

    def on_pdu(self, kind: PduType, body: bytes) -> None:
        self.pdus.append((kind, body))

    def on_data_pdu(self) -> None:
        self.data_pdus += 1

    def on_fragment(self, context_id: int, command: bool, last: bool, data: memoryview) -> None:
        self.fragments.append((context_id, command, last, data))

    def messages(self) -> list[tuple[int, bool, bytes]]:
        """The fragments put together up to each last one."""
        found, part = [], b""
        for context_id, command, last, data in self.fragments:
            part += bytes(data)
            if last:
                found.append((context_id, command, part))
                part = b""
        return found


def feed(stream: PduStream, data: bytes, sizes: Sequence[int] = ()) -> None:
    """Bring `data` to the stream in pieces of `sizes`, then as much as fits."""
    pieces = iter(sizes)
    while data:
        room = stream.buffer()
        assert len(room) > 0
        count = min(next(pieces, len(room)), len(room), len(data))
        room[:count] = data[:count]
        data = data[count:]
        stream.received(count)


def data_pdu(context_id: int, data: bytes, *, command: bool = False, last: bool = True) -> bytes:
    return data_header(context_id, len(data), command=command, last=last) + data


messages = st.lists(
    st.tuples(
        st.integers(0, 127).map(lambda n: 2 * n + 1),
        st.booleans(),
        st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    ),
    max_size=6,
)


@given(messages, st.lists(st.integers(1, 40), max_size=60))
def test_fragments_are_the_same_however_the_bytes_arrive(
    sent: list[tuple[int, bool, list[bytes]]], sizes: list[int]
) -> None:
    wire = b""
    for context_id, command, parts in sent:
        for index, part in enumerate(parts):
            wire += data_pdu(context_id, part, command=command, last=index == len(parts) - 1)
        wire += encode_release_request()
    collected = Collected()
    feed(PduStream(LIMITS, collected), wire, sizes)
    assert collected.messages() == [(i, c, b"".join(parts)) for i, c, parts in sent]
    assert len(collected.pdus) == len(sent)


def test_what_was_lent_stays_as_it_was() -> None:
    collected = Collected()
    stream = PduStream(LIMITS, collected)
    blocks = [bytes([n]) * 100_000 for n in range(20)]
    feed(stream, b"".join(data_pdu(1, block) for block in blocks))
    assert [data for _, _, data in collected.messages()] == blocks


def test_several_values_in_one_pdu_are_taken_apart() -> None:
    values = b"".join(
        struct.pack(">IBB", len(d) + 2, 5, control) + d for d, control in ((b"ab", 3), (b"cd", 0), (b"ef", 2))
    )
    collected = Collected()
    feed(PduStream(LIMITS, collected), struct.pack(">BxI", 4, len(values)) + values)
    assert collected.data_pdus == 1
    assert collected.messages() == [(5, True, b"ab"), (5, False, b"cdef")]


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (struct.pack(">BxI", 4, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxI", 4, LIMITS.max_pdu + 1), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxI", 1, LIMITS.associate_bytes + 1), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxI", 7, 5), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxIIBB", 4, 6, 3, 1, 0), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxIIBB", 4, 6, 1, 1, 0), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxI", 4, 5) + bytes(5), AbortReason.INVALID_PARAMETER),
        (b"GET / HTTP/1.1\r\n", AbortReason.UNRECOGNIZED_PDU),
        (data_pdu(1, b"", last=False) * (LIMITS.short_fragments + 1), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxI", 4, 0) * (LIMITS.short_fragments + 1), AbortReason.INVALID_PARAMETER),
    ],
)
def test_what_a_peer_claims_is_checked_before_it_is_believed(wire: bytes, reason: AbortReason) -> None:
    with pytest.raises(ProtocolError) as raised:
        feed(PduStream(LIMITS, Collected()), wire)
    assert raised.value.reason == reason


def test_an_association_request_takes_memory_as_it_comes_and_not_as_it_is_announced() -> None:
    stream = PduStream(LIMITS, Collected())
    feed(stream, struct.pack(">BxI", 1, LIMITS.associate_bytes))
    assert len(stream.buffer()) <= 4096
    feed(stream, bytes(10_000))
    assert len(stream.buffer()) <= 32_768


@given(st.lists(st.binary(max_size=80), max_size=10))
def test_garbage_raises_nothing_but_protocol_errors(pieces: list[bytes]) -> None:
    for head in (b"", struct.pack(">BxI", 4, 40)):
        stream = PduStream(LIMITS, Collected())
        try:
            feed(stream, head)
            for piece in pieces:
                feed(stream, piece)
        except ProtocolError:
            continue


def test_a_stopped_stream_swallows_everything() -> None:
    collected = Collected()
    stream = PduStream(LIMITS, collected)
    stream.stop()
    feed(stream, data_pdu(1, bytes(10_000)) * 50)
    assert collected.fragments == []
