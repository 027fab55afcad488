"""The listener for HL7 (MLLP): connections, each with its messages in turn; sizes and times are bounded."""

import asyncio
import socket
import ssl
from collections.abc import Callable

import structlog

from imex.dimse.listening import Listener
from imex.directory.certificates import CertificateFacts, CertificateUnreadable, facts_of
from imex.hl7.answer import Verdict, acknowledgement
from imex.hl7.framing import FrameReader, FramingBroken, framed
from imex.ingest.hl7.places import STRANGERS_S, Place, Places
from imex.ingest.hl7.taking import Taking
from imex.ingest.ports import Surroundings
from imex.ingest.settings import Hl7Settings
from imex.observability.sparing import Sparing
from imex.runtime.health import Health

log = structlog.get_logger(__name__)

_PIECE = 64 * 1024
_AFTER_DRAIN_S = 15.0
_HANDSHAKE_S = 10.0
_ANSWER_S = 10.0
Context = Callable[[], ssl.SSLContext]


class _NoRoom(Exception):
    """More is under way than may be."""


class Hl7Server:
    """A component: unready while it starts and while it drains."""

    name = "hl7"

    def __init__(
        self,
        settings: Hl7Settings,
        around: Surroundings,
        drain_s: float,
        *,
        shared: bool,
        tls: Context | None = None,
    ) -> None:
        """`shared`: several processes listen on the ports; `tls`: for the handshakes of the TLS port."""
        self._settings = settings
        self._around = around
        self._drain_s = drain_s
        self._shared = shared
        self._tls = tls
        self.stop_within_s = drain_s + _AFTER_DRAIN_S
        self._listeners: list[Listener] = []
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = Places(settings.connections)
        self._once_more = Sparing()
        self._held = 0
        self._detail = "starting"
        self.port = 0
        self.tls_port = 0

    async def start(self) -> None:
        """Listen. Raises OSError where a port is taken."""
        settings = self._settings
        if settings.port is not None:
            self.port = await self._listen(settings.port, None)
        if settings.tls_port is not None:
            self.tls_port = await self._listen(settings.tls_port, self._tls)
        self._detail = ""

    async def _listen(self, port: int, tls: Context | None) -> int:
        listener = Listener(lambda connection, peer: self._arrived(connection, peer[0], tls))
        await listener.listen(self._settings.host, port, shared=self._shared)
        self._listeners.append(listener)
        return listener.port

    async def stop(self) -> None:
        """Take no new messages, let those under way be answered, then cut the rest off."""
        self._detail = "draining"
        for listener in self._listeners:
            listener.stop()
        for connection in self._connections:
            connection.finish()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._drain_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def health(self) -> Health:
        """Ready while it takes messages, whatever the store and the broker do."""
        return Health(ready=not self._detail, detail=self._detail)

    def hold(self, more: int) -> None:
        """So many bytes more are in memory. Raises _NoRoom."""
        if more > 0 and self._held + more > self._settings.memory_bytes:
            raise _NoRoom
        self._held += more

    def _arrived(self, connection: socket.socket, host: str, tls: Context | None) -> None:
        place = self._places.take(host)
        if place is None:
            if self._once_more():
                log.warning("hl7 connection refused: too many at a time", connections=len(self._places))
            connection.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(connection, place, host, tls))
        place.end = task.cancel
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._places.leave(place))

    async def _serve(self, connection: socket.socket, place: Place, host: str, tls: Context | None) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_PIECE)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=tls() if tls else None,
                ssl_handshake_timeout=_HANDSHAKE_S if tls else None,
            )
        except (TimeoutError, OSError, ssl.SSLError) as error:
            if self._once_more():
                log.info("hl7 connection without a handshake", kind=type(error).__name__)
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            certificate = _certificate_of(writer) if tls else None
            place.known = certificate is not None  # of an authority that Imex believes
            taking = Taking(self._around, place, self._once_more, host, certificate)
            served = _Connection(self, self._settings, place, taking, reader, writer)
            self._connections.add(served)
            try:
                await served.run()
            except FramingBroken as error:
                await self._say(writer, Verdict("AR", str(error), "100"))
            except CertificateUnreadable as error:
                log.warning("hl7 certificate cannot be read", reason=str(error))
            finally:
                self._connections.discard(served)
                self.hold(-served.held)
        except CertificateUnreadable as error:
            log.warning("hl7 certificate cannot be read", reason=str(error))
        except _NoRoom:
            log.warning("hl7 connection cut off: too much is under way", bytes=self._held)
        except (TimeoutError, ConnectionError, ssl.SSLError) as error:
            log.info("hl7 connection ended", kind=type(error).__name__)
        finally:
            writer.close()

    async def _say(self, writer: asyncio.StreamWriter, verdict: Verdict) -> None:
        """What came is no message: its sender is told, and hung up on."""
        if self._once_more():
            log.warning("hl7 connection cut off", reason=verdict.words)
        around = self._around
        writer.write(framed(acknowledgement(None, verdict, around.now(), around.own_ae_title)))
        async with asyncio.timeout(_ANSWER_S):
            await writer.drain()


class _Connection:
    """Reads messages and answers each before it looks at the next."""

    def __init__(  # noqa: PLR0917  what a connection is
        self,
        server: Hl7Server,
        settings: Hl7Settings,
        place: Place,
        taking: Taking,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._server = server
        self._settings = settings
        self._place = place
        self._taking = taking
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader(settings.message_bytes)
        self._finishing = asyncio.Event()
        self.held = 0
        """Bytes of memory that its message under way takes."""

    def finish(self) -> None:
        """Answer what has begun, and begin nothing more."""
        self._finishing.set()

    async def run(self) -> None:
        """Until the peer hangs up, it has been silent for too long, or it is nobody that is known."""
        while not self._finishing.is_set():
            if not self._frames.inside:
                data = await self._begins()
                if not data:
                    return
                messages = self._fed(data)
            else:
                async with asyncio.timeout(self._settings.message_s):
                    messages = await self._rest()
            for message in messages:
                await self._answer(message)
                if not self._place.known:
                    return
            self._let_go()

    async def _begins(self) -> bytes:
        """The first bytes of a message; none where there will be no more."""
        idle_s = self._settings.idle_s if self._place.known else min(STRANGERS_S, self._settings.idle_s)
        reading = asyncio.ensure_future(self._reader.read(_PIECE))
        finishing = asyncio.ensure_future(self._finishing.wait())
        try:
            done, _ = await asyncio.wait(
                {reading, finishing}, timeout=idle_s, return_when=asyncio.FIRST_COMPLETED
            )
            if reading in done:
                return reading.result()
            return b""
        finally:
            for task in (reading, finishing):
                task.cancel()
            await asyncio.gather(reading, finishing, return_exceptions=True)

    async def _rest(self) -> list[bytes]:
        """The message that has begun, and what came whole behind it."""
        while True:
            data = await self._reader.read(_PIECE)
            if not data:
                raise ConnectionResetError
            messages = self._fed(data)
            if messages:
                return messages

    def _fed(self, data: bytes) -> list[bytes]:
        self._server.hold(len(data))
        self.held += len(data)
        return self._frames.feed(data)

    def _let_go(self) -> None:
        """What was answered takes no memory any more."""
        kept = self._frames.held
        self._server.hold(kept - self.held)
        self.held = kept

    async def _answer(self, message: bytes) -> None:
        self._writer.write(framed(await self._taking.take(message)))
        async with asyncio.timeout(_ANSWER_S):
            await self._writer.drain()


def _certificate_of(writer: asyncio.StreamWriter) -> CertificateFacts | None:
    found = writer.get_extra_info("ssl_object")
    der = found.getpeercert(binary_form=True) if found else None
    if der is None:
        raise CertificateUnreadable("it has shown none")
    return facts_of(der)
