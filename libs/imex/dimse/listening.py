"""A listening TCP port: its sockets, and taking connections off them."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

BACKLOG: Final = 512
_PAUSE_S: Final = 0.2
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})

Arrived = Callable[[socket.socket, tuple[str, int]], None]
"""Takes a new connection, without blocking, and its peer's address and port."""


class Listener:
    """Listens on every address of `host` at one port; `arrived` gets each connection.

    `shared` lets several processes listen on the port (SO_REUSEPORT); the system spreads connections over
    them. All of them have to ask for it.
    """

    def __init__(self, arrived: Arrived, make_room: Callable[[], None] = lambda: None) -> None:
        """`make_room` is called where descriptors are short, and may close connections."""
        self._arrived = arrived
        self._make_room = make_room
        self._sockets: list[socket.socket] = []
        self.port = 0

    async def listen(self, host: str, port: int, *, shared: bool = False) -> None:
        """Begin (port 0: any free one). Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.port = port
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self._sockets.append(_bound(family, kind, protocol, (address[0], self.port), shared=shared))
                self.port = self._sockets[0].getsockname()[1]
        except OSError:
            self._close_sockets()
            raise
        for listening in self._sockets:
            self._read(listening)

    def stop(self) -> None:
        """Take no more connections, but those that the system has already made for this process."""
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening)
            self._accept(listening)
        self._close_sockets()

    def _read(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Take what is there; it may be gone again, or this process may be out of descriptors."""
        for _ in range(BACKLOG):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no connection can be taken: %s", error.strerror)
                if error.errno in _NO_DESCRIPTORS:
                    self._make_room()
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(_PAUSE_S, self._read, listening)
                return
            connection.setblocking(False)
            self._arrived(connection, (str(address[0]), int(address[1])))

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()


def _bound(
    family: int, kind: int, protocol: int, address: tuple[object, int], *, shared: bool
) -> socket.socket:
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
