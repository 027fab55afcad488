"""DICOMweb servers: STOW-RS (PS3.18 section 10.5), several instances in one request."""

import asyncio
import hashlib
import secrets as random
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from imex.delivery.conversion import CannotConvert, Converter, told
from imex.delivery.decide import Answer, Verdict
from imex.delivery.jobs import Instance
from imex.delivery.payloads import Payload, PayloadBroken
from imex.delivery.targets import CannotDeliver, Context, Refused, Room
from imex.delivery.targets.dicomweb.judging import Sent, Smaller, judge
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Answered, Web
from imex.delivery.targets.proposals import candidates, name, refusal
from imex.dicom import file_meta
from imex.directory.model import DicomwebEndpoint, Endpoint

JSON: Final = "application/dicom+json"
XML: Final = "application/dicom+xml"
_REMEMBERED: Final = 256
_REMEMBERED_S: Final = 3600.0
_MEGABYTE: Final = 1_000_000


@dataclass(slots=True)
class _Habits:
    """What is known of a server: what it takes at a time, and in which form it answers."""

    room: Room
    accept: str
    until: float


class DicomwebTarget:
    """Sends to DICOMweb servers."""

    def __init__(
        self, web: Web, tokens: Tokens, *, converter: Converter | None = None, ae_title: str = "IMEX"
    ) -> None:
        """`ae_title` is named in the file meta information as where the files come from."""
        self._web = web
        self._tokens = tokens
        self._converter = converter or Converter()
        self._ae_title = ae_title
        self._habits: OrderedDict[str, _Habits] = OrderedDict()

    def address(self, endpoint: Endpoint) -> str:
        """The server's base URL."""
        return _endpoint(endpoint).url

    def place(self, endpoint: Endpoint) -> str:
        """The server's base URL."""
        return _endpoint(endpoint).url

    def refusal(self, endpoint: Endpoint, context: Context, refused: Refused) -> str:
        """Why nothing is to be sent of this kind."""
        return refusal(endpoint.accepts, refused, context)

    def kept(self, _: Endpoint) -> int:
        """None: a connection between two requests is no association."""
        return 0

    @property
    def keeps(self) -> bool:
        """Nothing that counts."""
        return False

    async def close(self) -> None:
        """End all connections."""
        await self._web.close()

    @asynccontextmanager
    async def open(
        self, endpoint: Endpoint, contexts: Sequence[Context], refused: Refused, *, keep: bool
    ) -> AsyncIterator["DicomwebSession"]:
        """Requests to the server, one after the other. Nothing is asked before there is something to send."""
        server = _endpoint(endpoint)
        habits = self._of(server)
        session = DicomwebSession(
            server,
            self._web,
            self._tokens,
            self._converter,
            refused,
            habits.room,
            habits.accept,
            self._ae_title,
        )
        try:
            yield session
        finally:
            if (session.room, session.accept) != (habits.room, habits.accept):
                until = asyncio.get_running_loop().time() + _REMEMBERED_S
                self._habits[server.url] = _Habits(session.room, session.accept, until)
                self._habits.move_to_end(server.url)
                if len(self._habits) > _REMEMBERED:
                    self._habits.popitem(last=False)

    def _of(self, server: DicomwebEndpoint) -> _Habits:
        allowed = Room(server.request_instances, server.request_mb * _MEGABYTE)
        known = self._habits.get(server.url)
        if known is None or known.until < asyncio.get_running_loop().time():
            return _Habits(allowed, JSON, 0.0)
        room = Room(min(known.room.instances, allowed.instances), min(known.room.bytes, allowed.bytes))
        return replace(known, room=room)


class DicomwebSession:
    """Requests of one delivery to one server."""

    reused = False

    def __init__(  # noqa: PLR0917  made in one place
        self,
        server: DicomwebEndpoint,
        web: Web,
        tokens: Tokens,
        converter: Converter,
        refused: Refused,
        room: Room,
        accept: str,
        ae_title: str,
    ) -> None:
        self._server = server
        self._web = web
        self._tokens = tokens
        self._converter = converter
        self._refused = refused
        self._ae_title = ae_title
        self._renewed = False
        self.room = room
        self.accept = accept
        self.learnt: Refused = {}

    def covers(self, _: Instance) -> bool:
        """Any kind: nothing is agreed on before."""
        return True

    def refusal(self, instance: Instance) -> str:
        """Why the directory says that it takes no instances of this kind."""
        return refusal(self._server.accepts, self._refused, instance.context)

    async def send(self, instance: Instance, payload: Payload) -> Answer:
        """One alone. Raises as `send_together`."""

        async def alone() -> AsyncIterator[Payload]:
            yield payload

        while True:
            answers = await self.send_together(alone())
            if answer := answers.get(instance.sop_instance_uid):
                return answer

    async def send_together(self, payloads: AsyncIterator[Payload]) -> Mapping[str, Answer]:
        """One request. See `imex.delivery.targets.Together`."""
        first = await anext(payloads, None)
        if first is None:
            return {}
        token = await self._tokens.of(self._server.oauth2) if self._server.oauth2 else ""
        parcel = _Parcel(self, first, payloads)
        headers = {
            "Accept": self.accept,
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={parcel.boundary}',
        }
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if self.room.instances == 1 and (length := await parcel.length()) is not None:
            headers["Content-Length"] = str(length)
        try:
            answered = await self._web.ask("POST", f"{self._server.url}/studies", headers, parcel.pieces())
        except CannotDeliver as error:
            if error.in_doubt and len(parcel.sent) > 1:  # it may be one that breaks the server
                self._smaller()
            raise
        if not parcel.sent:
            return parcel.answers
        return parcel.answers | self._judged(answered, parcel, token)

    def _judged(self, answered: Answered, parcel: "_Parcel", token: str) -> dict[str, Answer]:
        match answered.status:
            case 401 | 403 if token and not self._renewed:
                assert self._server.oauth2 is not None
                self._renewed = True
                self._tokens.forget(self._server.oauth2, token)
                return {}
            case 406 if self.accept != XML:
                self.accept = XML
                return {}
            case 411 if self.room.instances > 1:
                self.room = replace(self.room, instances=1)
                return {}
        try:
            judged = judge(answered, set(parcel.sent))
        except Smaller:
            self._smaller()
            return {}
        except CannotDeliver as error:
            if error.in_doubt and len(parcel.sent) > 1:
                self._smaller()
            raise
        return {one.instance.sop_instance_uid: one.told(judged[uid]) for uid, one in parcel.sent.items()}

    def _smaller(self) -> None:
        self.room = Room(max(1, self.room.instances // 4), max(_MEGABYTE, self.room.bytes // 4))

    async def converted(self, payload: Payload) -> tuple[str, memoryview | None]:
        """In which transfer syntax it goes, and the data set where that is not as it is stored.

        Raises CannotConvert, and as reading it does.
        """
        stored = payload.instance.transfer_syntax
        syntax = next(iter(candidates(self._server.accepts, self._refused, payload.instance.context)), stored)
        if syntax == stored:
            return stored, None
        return syntax, await self._converter.convert(payload, syntax)

    def meta(self, payload: Payload, syntax: str) -> bytes:
        """What stands before a data set in a Part-10 file: ours, never the sender's."""
        return file_meta(payload.instance.sop_class_uid, payload.sop_instance_uid, syntax, self._ae_title)


@dataclass(frozen=True, slots=True)
class _Gone:
    """A data set that is in the request, and how it went."""

    payload: Payload
    syntax: str
    rewritten: memoryview | None

    @property
    def instance(self) -> Instance:
        return self.payload.instance

    def told(self, sent: Sent) -> Answer:
        """The answer, with what was sent in place of what is stored."""
        answer = sent.answer
        if self.rewritten is not None:
            digest = "sha256:" + hashlib.sha256(self.rewritten).hexdigest()
            changes = (*self.payload.changes, told(self.payload.instance.transfer_syntax, self.syntax, name))
            reason = answer.reason or f"sent in {name(self.syntax)}"
            return replace(answer, delivered_digest=digest, changes=changes, reason=reason)
        if self.payload.changes:
            digest = self.payload.delivered_digest
            return replace(answer, delivered_digest=digest, changes=self.payload.changes)
        return answer


class _Parcel:
    """The body of one request: a part for each data set, made while it goes out (RFC 2387, RFC 2046 5.1)."""

    def __init__(self, session: DicomwebSession, first: Payload, others: AsyncIterator[Payload]) -> None:
        self._session = session
        self._first = first
        self._others = others
        self.boundary = f"imex-{random.token_hex(16)}"
        self.sent: dict[str, _Gone] = {}
        """By the SOP Instance UID under which they go."""
        self.answers: dict[str, Answer] = {}
        """Of what is not in the request."""

    async def length(self) -> int | None:
        """Bytes of a request with the first one alone; None where that is not known before."""
        syntax, rewritten = self._first.instance.transfer_syntax, None
        if (syntax, rewritten) != await self._as_it_goes(self._first):
            return None
        size = len(self._head()) + len(self._session.meta(self._first, syntax)) + self._first.size
        return size + len(self._end())

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        """The body. Raises PayloadBroken and StoreError."""
        payload: Payload | None = self._first
        while payload is not None:
            try:
                syntax, rewritten = await self._session.converted(payload)
            except CannotConvert as error:
                told = name(payload.instance.transfer_syntax)
                why = f"the recipient's directory entry does not accept {told}, and {error}"
                self.answers[payload.instance.sop_instance_uid] = Answer(Verdict.FAILED, "", why)
            else:
                self.sent[payload.sop_instance_uid] = _Gone(payload, syntax, rewritten)
                yield self._head(first=len(self.sent) == 1) + self._session.meta(payload, syntax)
                if rewritten is not None:
                    yield rewritten
                else:
                    async with aclosing(payload.chunks()) as chunks:
                        try:
                            async for chunk in chunks:
                                yield chunk
                        except PayloadBroken as error:
                            payload.broken = str(error)
                            raise
            payload = await anext(self._others, None)
        yield self._end()

    async def _as_it_goes(self, payload: Payload) -> tuple[str, memoryview | None]:
        try:
            syntax, rewritten = await self._session.converted(payload)
        except CannotConvert:
            return "", None
        return syntax, rewritten

    def _head(self, *, first: bool = True) -> bytes:
        begin = "" if first else "\r\n"
        return f"{begin}--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()

    def _end(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


def _endpoint(endpoint: Endpoint) -> DicomwebEndpoint:
    if not isinstance(endpoint, DicomwebEndpoint):
        raise CannotDeliver(f"endpoint {endpoint.name} is no DICOMweb server")
    return endpoint
