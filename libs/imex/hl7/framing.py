"""The minimal lower layer protocol (HL7 v2.5 appendix C.4, MLLP): messages out of a stream. Pure."""

from typing import Final

START: Final = b"\x0b"
END: Final = b"\x1c\r"
_STRAY: Final = b"\r\n\t \x00"
"""What some senders put between two messages."""


class FramingBroken(Exception):
    """The stream is no MLLP, or a message is larger than allowed: nothing after it can be told apart."""


def framed(message: bytes) -> bytes:
    """A message as it goes over the wire."""
    return START + message + END


class FrameReader:
    """Takes bytes as they come and gives back whole messages; holds one message at the most."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: of one message."""
        self._most = most_bytes
        self._buffer = bytearray()
        self._inside = False
        self._searched = 0

    @property
    def held(self) -> int:
        """Bytes of a message that is not whole yet, and of what came behind it."""
        return len(self._buffer)

    @property
    def inside(self) -> bool:
        """Whether a message has begun."""
        return self._inside

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises FramingBroken."""
        self._buffer += data
        found: list[bytes] = []
        while True:
            if not self._inside and not self._begin():
                return found
            message = self._ended()
            if message is None:
                return found
            found.append(message)

    def _begin(self) -> bool:
        waiting = self._buffer.lstrip(_STRAY)
        if waiting and waiting[:1] != START:
            raise FramingBroken("a message has to begin with the byte 0x0B")
        self._buffer = waiting[1:]
        self._inside = bool(waiting)
        self._searched = 0
        return self._inside

    def _ended(self) -> bytes | None:
        at = self._buffer.find(END[:1], self._searched)
        length = len(self._buffer) if at < 0 else at
        if length > self._most:
            raise FramingBroken(f"a message is larger than {self._most} bytes")
        if at < 0:
            self._look_for_start(length)
            self._searched = length
            return None
        self._look_for_start(at)
        self._searched = at
        if len(self._buffer) < at + len(END):
            return None
        if self._buffer[at : at + len(END)] != END:
            raise FramingBroken("a message has to end with the bytes 0x1C 0x0D")
        message = bytes(self._buffer[:at])
        del self._buffer[: at + len(END)]
        self._inside = False
        return message

    def _look_for_start(self, before: int) -> None:
        if self._buffer.find(START, self._searched, before) >= 0:
            raise FramingBroken("a message begins before the one under way has ended")
