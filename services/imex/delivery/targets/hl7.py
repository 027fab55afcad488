"""HL7 listeners: a message through MLLP, and the acknowledgement that decides what became of it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from imex.delivery.decide import Answer, Verdict
from imex.delivery.jobs import Instance
from imex.delivery.payloads import Payload
from imex.delivery.targets import CannotDeliver, Context, Refused
from imex.directory.model import Endpoint, Hl7Endpoint
from imex.hl7.adt import MESSAGE_CLASS
from imex.hl7.framing import FrameReader, FramingBroken, framed
from imex.hl7.message import Message, MessageUnreadable, read
from imex.outbound import AddressDenied, Outbound

_CONNECT_S: Final = 15.0
_MOST_ANSWER: Final = 64 * 1024
_MOST_MESSAGE: Final = 256 * 1024
_PIECE: Final = 8 * 1024


class Hl7Target:
    """Opens a connection for each delivery."""

    keeps = False

    def __init__(
        self,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        outbound: Outbound | None = None,
        answer_s: float = 30.0,
    ) -> None:
        """`tls` gives the context for listeners that want TLS; `answer_s` is how long one may think."""
        self._tls = tls
        self._outbound = outbound or Outbound()
        self._answer_s = answer_s

    def address(self, endpoint: Endpoint) -> str:
        """Host and port."""
        return self.place(endpoint)

    def place(self, endpoint: Endpoint) -> str:
        """Host and port."""
        listener = _listener(endpoint)
        return f"hl7 {listener.host}:{listener.port}"

    def refusal(self, endpoint: Endpoint, context: Context, refused: Refused) -> str:
        """A listener takes messages, and nothing else."""
        return _refusal(context[0])

    def kept(self, endpoint: Endpoint) -> int:
        """Nothing is kept open."""
        return 0

    async def close(self) -> None:
        """Nothing is kept open."""

    @asynccontextmanager
    async def open(
        self, endpoint: Endpoint, contexts: Sequence[Context], refused: Refused, *, keep: bool
    ) -> AsyncIterator["Hl7Session"]:
        """One connection. Raises CannotDeliver where there can be none."""
        listener = _listener(endpoint)
        context = self._context(listener)
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await self._connected(listener, context)
        except AddressDenied as error:
            raise CannotDeliver(str(error.strerror), lasting=True) from error
        except ssl.SSLError as error:
            raise CannotDeliver("the TLS handshake failed") from error
        except TimeoutError as error:
            raise CannotDeliver("no connection in time") from error
        except (OSError, UnicodeError) as error:
            raise CannotDeliver(f"no connection: {_words(error)}") from error
        try:
            yield Hl7Session(reader, writer, self._answer_s)
        finally:
            writer.close()

    async def _connected(
        self, listener: Hl7Endpoint, context: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """At the first of its addresses that takes one."""
        addresses = await self._outbound.addresses(listener.host, listener.port)
        named = listener.host if context else None
        while True:
            address = addresses.pop(0)
            try:
                return await asyncio.open_connection(
                    address, listener.port, ssl=context, server_hostname=named, limit=_MOST_ANSWER
                )
            except OSError:
                if not addresses:
                    raise

    def _context(self, listener: Hl7Endpoint) -> ssl.SSLContext | None:
        if not listener.tls:
            return None
        if self._tls is None:
            raise CannotDeliver("the listener wants TLS, and IMEX_DELIVERY_TLS_CA is not set")
        return self._tls()


class Hl7Session:
    """Sends one message after the other, and reads what is answered."""

    reused = False

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer_s: float) -> None:
        """A connection that is open."""
        self.learnt: Refused = {}
        self._reader = reader
        self._writer = writer
        self._answer_s = answer_s

    def covers(self, instance: Instance) -> bool:
        """A connection is for every message."""
        return True

    def refusal(self, instance: Instance) -> str:
        """It takes nothing but messages."""
        return _refusal(instance.context[0])

    async def send(self, instance: Instance, payload: Payload) -> Answer:
        """Send a message and wait for its acknowledgement."""
        message = bytearray()
        async for piece in payload.pieces():
            message += piece
            if len(message) > _MOST_MESSAGE:
                return Answer(Verdict.FAILED, "", "the message is larger than any that Imex writes")
        sent = read(bytes(message))
        try:
            async with asyncio.timeout(self._answer_s):
                self._writer.write(framed(bytes(message)))
                await self._writer.drain()
                answer = await self._answer()
        except TimeoutError as error:
            raise CannotDeliver("no acknowledgement in time", in_doubt=True) from error
        except OSError as error:
            raise CannotDeliver(f"the connection was lost: {_words(error)}", in_doubt=True) from error
        except (FramingBroken, MessageUnreadable) as error:
            raise CannotDeliver("what was answered is no acknowledgement", in_doubt=True) from error
        return judged(answer, sent.control_id)

    async def _answer(self) -> Message:
        frames = FrameReader(_MOST_ANSWER)
        while True:
            data = await self._reader.read(_PIECE)
            if not data:
                raise CannotDeliver("the connection was closed without an acknowledgement", in_doubt=True)
            for found in frames.feed(data):
                return read(found)


def judged(answer: Message, control_id: str) -> Answer:
    """What an acknowledgement says (HL7 v2.5 2.9). Its own words may name a patient, and are not repeated.

    An error (AE, CE) may pass, and the message goes again; what is refused (AR, CR) would be again.
    """
    said = answer.of("MSA")
    code = said[0].text(1).upper() if said else ""
    if not said or said[0].text(2) != control_id:
        raise CannotDeliver("the acknowledgement is of another message", in_doubt=True)
    errors = [one.text(3) for one in answer.of("ERR")]
    coded = next((f" (code {one})" for one in errors if one.isdigit() and len(one) <= 5), "")
    match code:
        case "AA" | "CA":
            return Answer(Verdict.CONFIRMED, code)
        case "AR" | "CR":
            return Answer(Verdict.FAILED, code, f"the listener refused the message with {code}{coded}")
        case "AE" | "CE":
            return Answer(Verdict.RETRY, code, f"the listener answered {code}{coded}")
        case _:
            raise CannotDeliver("what was answered is no acknowledgement", in_doubt=True)


def _refusal(sop_class: str) -> str:
    return "" if sop_class == MESSAGE_CLASS else "an HL7 listener takes messages only"


def _listener(endpoint: Endpoint) -> Hl7Endpoint:
    assert isinstance(endpoint, Hl7Endpoint), "targets are by endpoint type"
    return endpoint


def _words(error: Exception) -> str:
    found = getattr(error, "strerror", None)
    return str(found).lower() if found else type(error).__name__
