"""What connections receive into: shared, counted to the byte, and slowing peers instead of growing."""

import asyncio
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from imex.dimse.inbox import Inbox
from imex.dimse.limits import KIB, Limits
from imex.dimse.memory import (
    FLOOR,
    LARGE_ARENA,
    MEDIUM_ARENA,
    TLS_BYTES,
    TLS_READ_AHEAD,
    Arena,
    SharedMemory,
    arena_bytes,
)
from imex.dimse.pdu import data_header
from imex.dimse.stream import PduStream
from imex.dimse.upper_layer import UpperLayer

MIB = 1024 * KIB


class Kept:
    """Keeps what it is given, as a queue does whose sink is slow."""

    def __init__(self) -> None:
        self.pieces: list[memoryview] = []

    def on_pdu(self, kind: Any, body: bytes) -> None: ...

    def on_data_pdu(self) -> None: ...

    def on_fragment(self, context_id: int, command: bool, last: bool, data: memoryview) -> None:
        self.pieces.append(data)


class Transport:
    def __init__(self) -> None:
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return False


def feed(stream: PduStream, data: bytes) -> None:
    view = memoryview(data)
    while view:
        buffer = stream.buffer()
        taken = min(len(buffer), len(view))
        buffer[:taken] = view[:taken]
        stream.received(taken)
        view = view[taken:]


def dataset(size: int) -> bytes:
    pieces = [bytes(min(60_000, size - start)) for start in range(0, size, 60_000)]
    return b"".join(
        data_header(1, len(piece), command=False, last=index == len(pieces) - 1) + piece
        for index, piece in enumerate(pieces)
    )


def test_an_arena_counts_until_its_last_view_is_gone() -> None:
    memory = SharedMemory(MIB, MIB)
    view = memoryview(Arena(1000, memory))
    piece = view[10:20]
    del view
    assert memory.used == 1000
    del piece
    assert memory.used == 0


def test_a_connection_holds_no_memory_between_two_data_sets_where_it_is_short() -> None:
    memory, kept = SharedMemory(6 * MIB, MIB), Kept()
    stream = PduStream(Limits(), kept, memory)
    feed(stream, dataset(3 * MIB))
    assert sum(map(len, kept.pieces)) == 3 * MIB
    assert 3 * MIB <= memory.used <= 5 * MIB
    kept.pieces.clear()
    assert memory.used == 0
    feed(stream, dataset(100))
    assert 0 < memory.used <= LARGE_ARENA


def test_a_connection_keeps_what_it_will_need_again_while_there_is_plenty() -> None:
    memory, kept = SharedMemory(100 * MIB, MIB), Kept()
    stream = PduStream(Limits(), kept, memory)
    for _ in range(2):
        feed(stream, dataset(MIB))
        kept.pieces.clear()
        assert 0 < memory.used <= LARGE_ARENA


def test_arenas_are_small_while_memory_is_short() -> None:
    memory = SharedMemory(MIB, MIB)
    assert arena_bytes(LARGE_ARENA, memory) == LARGE_ARENA
    memory.charge(900 * KIB)
    assert arena_bytes(LARGE_ARENA, memory) == MEDIUM_ARENA
    memory.charge(900 * KIB)
    assert memory.window == FLOOR


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 64))
def test_however_many_peers_send_memory_stays_near_its_size(peers: int, size_mib: int) -> None:
    memory = SharedMemory(size_mib * MIB, MIB)
    queues = []
    for _ in range(peers):
        transport = Transport()
        inbox = Inbox(Limits(), memory)
        inbox.connected(cast(Any, transport))
        while not transport.paused:
            chunk = arena_bytes(LARGE_ARENA, memory)
            inbox.put_fragment(1, False, False, memoryview(Arena(chunk, memory)))
            inbox.hold_back()
        queues.append((inbox, transport))
    assert memory.used <= size_mib * MIB + peers * 2 * MEDIUM_ARENA
    for inbox, transport in queues:
        while inbox.take() is not None:
            pass
        assert not transport.paused  # an empty queue reads on, whatever the others hold
    assert memory.used == 0


class TlsTransport(Transport):
    def __init__(self) -> None:
        super().__init__()
        self.high = 0

    def get_extra_info(self, name: str) -> object:
        return object() if name == "ssl_object" else None

    def set_read_buffer_limits(self, high: int) -> None:
        self.high = high

    def set_write_buffer_limits(self, high: int) -> None: ...

    def close(self) -> None: ...


async def test_tls_is_charged_while_its_connection_stands() -> None:
    memory, transport = SharedMemory(8 * MIB, MIB), TlsTransport()
    layer = UpperLayer(limits=Limits(), clock=asyncio.get_running_loop(), memory=memory)
    layer.connection_made(cast(Any, transport))
    assert (memory.used, transport.high) == (TLS_BYTES, TLS_READ_AHEAD)
    layer.connection_lost(None)
    assert memory.used == 0
