"""What a connection goes through before it is an association's: a PROXY header, a TLS handshake."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

from imex.dimse.handshakes import Handshakes
from imex.dimse.proxy import HEADER_BYTES, ProxyError, body_length, source

Peer = tuple[str, int]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Stage = Literal["proxy header", "tls handshake"]

_SHUTDOWN_S = 5.0


class TurnedAway(Exception):
    """The connection went no further than `stage`; the words are for a log."""

    def __init__(self, stage: Stage, peer: Peer, words: str) -> None:
        super().__init__(words)
        self.stage = stage
        self.peer = peer


class Gate:
    """Lets connections through to their protocol.

    From an address of `balancers` a PROXY header of version 2 has to come first, and says who the peer is;
    nobody else's is looked for. `handshake_s` bounds all of it, and `handshakes` how many TLS handshakes one
    address may have under way.
    """

    def __init__(self, balancers: Sequence[Network], handshakes: Handshakes, handshake_s: float) -> None:
        self._balancers = tuple(balancers)
        self._handshakes = handshakes
        self._handshake_s = handshake_s

    def waits(self, peer: Peer) -> bool:
        """Whether a PROXY header has to come from there."""
        with suppress(ValueError):
            address = ipaddress.ip_address(peer[0].partition("%")[0])
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
            return any((mapped or address) in network for network in self._balancers)
        return False

    async def pass_through(
        self,
        connection: socket.socket,
        peer: Peer,
        tls: ssl.SSLContext | None,
        protocol: Callable[[Peer], asyncio.BaseProtocol],
    ) -> None:
        """Make `protocol`, given who the peer is, the connection's. Raises TurnedAway; then it is closed."""
        stage: Stage = "proxy header"
        ours = True
        try:
            if tls is not None and tls.verify_mode is not ssl.CERT_REQUIRED:
                raise ValueError("the TLS context has to require a certificate")
            async with asyncio.timeout(self._handshake_s) as deadline:
                if self.waits(peer):
                    peer = await _proxied(connection) or peer
                if tls is None:
                    ours = False
                    await self._hand_over(connection, lambda: protocol(peer), None)
                    return
                stage = "tls handshake"
                await _readable(connection)
                async with self._handshakes.one(peer[0], deadline):
                    ours = False
                    await self._hand_over(connection, lambda: protocol(peer), tls)
        except (ProxyError, OSError, EOFError, TimeoutError) as error:
            raise TurnedAway(stage, peer, _words(stage, error)) from error
        finally:
            if ours:  # else the loop has taken it over, and closes it when it fails
                connection.close()

    async def _hand_over(
        self,
        connection: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        made: list[asyncio.BaseProtocol] = []

        def make() -> asyncio.BaseProtocol:
            made.append(protocol())
            return made[-1]

        try:
            if tls is None:
                await loop.connect_accepted_socket(make, connection)
            else:
                # asyncio's own deadline is only a little behind: the caller's may be brought forward
                await loop.connect_accepted_socket(
                    make,
                    connection,
                    ssl=tls,
                    ssl_handshake_timeout=self._handshake_s + 1,
                    ssl_shutdown_timeout=_SHUTDOWN_S,
                )
        except BaseException:
            for connected in made:  # uvloop closes the transport and does not tell its protocol
                connected.connection_lost(None)
            raise


async def _proxied(connection: socket.socket) -> Peer | None:
    header = await _exactly(connection, HEADER_BYTES)
    return source(header, await _exactly(connection, body_length(header)))


async def _exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes and none beyond: what follows is for TLS or for the upper layer."""
    loop = asyncio.get_running_loop()
    found = b""
    while len(found) < count:
        more = await loop.sock_recv(connection, count - len(found))
        if not more:
            raise EOFError
        found += more
    return found


async def _readable(connection: socket.socket) -> None:
    """Wait for the first byte, so that a silent connection costs a socket and no more."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def read() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, read)
    try:
        await ready
    finally:
        loop.remove_reader(connection)
    if not connection.recv(1, socket.MSG_PEEK):
        raise EOFError


def _words(stage: Stage, error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"no {stage} in time"
        case EOFError():
            return f"closed before its {stage}"
        case ssl.SSLError():
            return f"{stage} failed: {error.reason or 'unknown'}".replace("_", " ").lower()
        case ProxyError():
            return str(error)
        case _:
            return f"{stage} failed: {getattr(error, 'strerror', None) or type(error).__name__}"
