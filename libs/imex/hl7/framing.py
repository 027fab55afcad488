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
        at = 0
        while True:
            if not self._inside:
                at = self._begin(at)
            end = self._end(at) if self._inside else None
            if end is None:
                break
            found.append(bytes(self._buffer[at:end]))
            at = end + len(END)
            self._inside = False
        # once for all that was taken: a stream of tiny messages is not copied for each
        del self._buffer[:at]
        self._searched = len(self._buffer) - 1 if self._buffer[-1:] == END[:1] else len(self._buffer)
        return found

    def _begin(self, at: int) -> int:
        """Where the message that begins next has its first byte, or where its start is still awaited."""
        buffer = self._buffer
        while at < len(buffer) and buffer[at] in _STRAY:
            at += 1
        if at == len(buffer):
            return at
        if buffer[at] != START[0]:
            raise FramingBroken("a message has to begin with the byte 0x0B")
        self._inside = True
        self._searched = at + 1
        return at + 1

    def _end(self, begin: int) -> int | None:
        """Where the message that has begun ends; None while its end has not come."""
        end = self._buffer.find(END[:1], self._searched)
        known = len(self._buffer) if end < 0 else end
        if known - begin > self._most:
            raise FramingBroken(f"a message is larger than {self._most} bytes")
        if self._buffer.find(START, self._searched, known) >= 0:
            raise FramingBroken("a message begins before the one under way has ended")
        if end < 0 or len(self._buffer) < end + len(END):
            return None
        if self._buffer[end : end + len(END)] != END:
            raise FramingBroken("a message has to end with the bytes 0x1C 0x0D")
        return end
