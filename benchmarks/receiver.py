"""The receiving end of every system under test: takes everything, keeps nothing.

`python -m benchmarks.receiver PORT` reads commands from standard input, a line each. `expect N` begins a
count; when N different instances have been confirmed, one line of JSON says what was seen
(`benchmarks.ends.Arrived`). The end of the input ends it.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import struct
import sys
import time

from benchmarks import wire

_BUFFER = 512 * 1024


class Count:
    """What has been confirmed since `expect`."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._spent = _cpu()
        self.associated: float | None = None
        self.arrivals: dict[str, float] = {}

    def arrived(self, uid: str) -> None:
        """Note the answer for an instance, and tell when it was the last."""
        new = uid not in self.arrivals
        self.arrivals.setdefault(uid, time.monotonic())
        if new and len(self.arrivals) == self._expected:
            told = {"associated": self.associated, "arrivals": self.arrivals, "cpu_s": _cpu() - self._spent}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


class Peer:
    """One connection: cuts the stream into PDUs, and skips what is data."""

    def __init__(self, connection: socket.socket, owner: Receiving) -> None:
        self._connection = connection
        self._owner = owner
        self._kept = b""
        self._skip = 0
        self._command = b""
        self._request: dict[int, bytes] = {}
        self._ends_message = False

    def readable(self, buffer: bytearray) -> bool:
        """Take what is there; False when the connection has ended."""
        try:
            count = self._connection.recv_into(buffer)
        except ConnectionError:
            return False
        if count == 0:
            return False
        if self._skip >= count:
            self._skip -= count
            self._after_skip()
            return True
        data = self._kept + bytes(memoryview(buffer)[self._skip : count])
        if self._skip:
            self._skip = 0
            self._after_skip()
        self._kept = data[self._take(data) :]
        return True

    def _take(self, data: bytes) -> int:
        at = 0
        while len(data) - at >= 6:
            kind, _, length = struct.unpack_from(">BBI", data, at)
            if kind != wire.P_DATA:
                if len(data) - at - 6 < length:
                    break
                self._control(kind, data[at + 6 : at + 6 + length])
                at += 6 + length
                continue
            if len(data) - at < 12:
                break
            size, context_id, control = struct.unpack_from(">IBB", data, at + 6)
            if size + 4 != length:
                raise ValueError("more than one fragment in a PDU")
            if control & 1:
                if len(data) - at - 6 < length:
                    break
                self._command += data[at + 12 : at + 6 + length]
                if control & 2:
                    self._commanded(context_id)
                at += 6 + length
                continue
            self._ends_message = bool(control & 2)
            self._context_id = context_id
            end = at + 6 + length
            self._skip = max(0, end - len(data))
            at = min(end, len(data))
            self._after_skip()
        return at

    def _control(self, kind: int, body: bytes) -> None:
        if kind == wire.ASSOCIATE_RQ:
            if self._owner.count.associated is None:
                self._owner.count.associated = time.monotonic()
            self._connection.sendall(wire.associate_accept(body))
        elif kind == wire.RELEASE_RQ:
            self._connection.sendall(wire.release_response())

    def _commanded(self, context_id: int) -> None:
        self._request, self._command = wire.command_elements(self._command), b""
        if struct.unpack("<H", self._request[wire.COMMAND_FIELD])[0] == wire.C_ECHO_RQ:
            self._connection.sendall(wire.command_pdu(context_id, wire.success(self._request)))

    def _after_skip(self) -> None:
        if self._skip == 0 and self._ends_message:
            self._ends_message = False
            self._connection.sendall(wire.command_pdu(self._context_id, wire.success(self._request)))
            self._owner.count.arrived(self._request[wire.AFFECTED_INSTANCE].rstrip(b"\0").decode())


class Receiving:
    """The listening socket, its connections and the commands, on one selector."""

    def __init__(self, port: int) -> None:
        self.count = Count(0)
        self._selector = selectors.DefaultSelector()
        self._listening = socket.create_server(("127.0.0.1", port), backlog=128)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the input ends."""
        buffer = bytearray(_BUFFER)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listening:
                    self._connect()
                elif isinstance(key.data, Peer):
                    if not key.data.readable(buffer):
                        self._selector.unregister(key.fileobj)
                        assert isinstance(key.fileobj, socket.socket)
                        key.fileobj.close()
                elif not self._commanded(sys.stdin.readline()):
                    return

    def _connect(self) -> None:
        connection, _ = self._listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, Peer(connection, self))

    def _commanded(self, line: str) -> bool:
        if line.startswith("expect "):
            self.count = Count(int(line.split()[1]))
            sys.stdout.write("counting\n")
            sys.stdout.flush()
        return bool(line)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    Receiving(int(sys.argv[1])).run()
