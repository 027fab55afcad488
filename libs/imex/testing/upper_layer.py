"""An upper layer between a fake clock and a fake transport: no socket, and no time that passes by itself."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from imex.dimse import pdu
from imex.dimse.items import ContextResult, ProposedContext, UserInformation
from imex.dimse.limits import Limits
from imex.dimse.upper_layer import UpperLayer

CONTEXTS = (ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),)
REQUEST = pdu.AssociateRequest("IMEX", "PACS", CONTEXTS, UserInformation(16384, "1.2.3"))
ACCEPT = pdu.AssociateAccept(
    "IMEX", "PACS", (ContextResult(1, 0, "1.2.840.10008.1.2"),), UserInformation(16384, "1.2.3")
)
RQ, AC = pdu.encode_associate_request(REQUEST), pdu.encode_associate_accept(ACCEPT)
RELEASE_RQ, RELEASE_RP = pdu.encode_release_request(), pdu.encode_release_response()
USER_ABORT = pdu.encode_abort(pdu.Abort(0, 0))
UNEXPECTED = pdu.encode_abort(pdu.Abort(2, 2))
DATA = pdu.data_header(1, 4, command=True, last=True) + b"data"
LIMITS = Limits(artim_s=15, idle_s=50, progress_s=30, write_s=20, receive_window=2000, progress_bytes=8)


class FakeHandle:
    """A call that is still to come."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Forget it."""
        self.callback = None


class FakeClock:
    """Monotonic seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._calls: list[tuple[float, int, FakeHandle]] = []
        self._count = itertools.count()

    def time(self) -> float:
        """Seconds by this clock."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> FakeHandle:
        """Call `callback` when `delay` seconds have passed."""
        handle = FakeHandle(callback)
        heapq.heappush(self._calls, (self.now + delay, next(self._count), handle))
        return handle

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, calling what falls due."""
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, handle = heapq.heappop(self._calls)
            if handle.callback is not None:
                handle.callback()
        self.now = end


class FakeTransport(asyncio.Transport):
    """Keeps what is sent, and how it was closed first."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 104)})
        self.sent = b""
        self.closed = ""
        self.paused = False
        self.unsent = 600_000

    def write(self, data: Any) -> None:
        """Keep it."""
        self.sent += bytes(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Keep them."""
        for data in list_of_data:
            self.write(data)

    def close(self) -> None:
        """Remember it."""
        self.closed = self.closed or "close"

    def abort(self) -> None:
        """Remember it."""
        self.closed = self.closed or "abort"

    def is_closing(self) -> bool:
        """Whether it was closed, however."""
        return bool(self.closed)

    def pause_reading(self) -> None:
        """Remember it."""
        self.paused = True

    def resume_reading(self) -> None:
        """Remember it."""
        self.paused = False

    def get_write_buffer_size(self) -> int:
        """What a test says is unsent."""
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing follows from it here."""


class Peer:
    """One upper layer, connected unless told otherwise, and what became of it."""

    def __init__(self, *, requestor: bool = False, limits: Limits = LIMITS, connect: bool = True) -> None:
        self.clock = FakeClock()
        self.transport = FakeTransport()
        self.requests: list[pdu.AssociateRequest] = []
        self.closed = 0
        self.turn_down: pdu.AssociateReject | None = None
        self.layer = UpperLayer(
            limits=limits,
            clock=self.clock,
            request=REQUEST if requestor else None,
            on_request=lambda _, request: self.requests.append(request),
            unacceptable=lambda _, __: self.turn_down,
            on_closed=lambda _: self._count_closed(),
        )
        if connect:
            self.layer.connection_made(self.transport)

    def _count_closed(self) -> None:
        self.closed += 1

    def brings(self, data: bytes) -> None:
        """Bytes come in."""
        while data:
            room = self.layer.get_buffer(-1)
            count = min(len(room), len(data))
            room[:count], data = data[:count], data[count:]
            self.layer.buffer_updated(count)

    def sent(self) -> bytes:
        """What was sent since the last call."""
        sent, self.transport.sent = self.transport.sent, b""
        return sent


def accepted(limits: Limits = LIMITS) -> Peer:
    """An acceptor with an association."""
    peer = Peer(limits=limits)
    peer.brings(RQ)
    peer.layer.accept(ACCEPT)
    assert peer.sent() == AC
    return peer


def requested() -> Peer:
    """A requestor with an association."""
    peer = Peer(requestor=True)
    assert peer.sent() == RQ
    peer.brings(AC)
    return peer
