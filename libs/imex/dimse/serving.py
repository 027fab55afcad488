"""Serves one accepted association: reads messages, has the handler carry them out, answers."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Literal

from imex.dimse import command
from imex.dimse.command import MAX_UID_CHARS, Command, CommandField, Tag
from imex.dimse.errors import (
    AssociationAborted,
    AssociationReleased,
    DimseError,
    DimseTimeout,
    ProtocolError,
    Refused,
)
from imex.dimse.exchanging import Context, Exchanges, operation_of
from imex.dimse.inbox import ReleaseConfirmed, ReleaseRequested
from imex.dimse.limits import Limits
from imex.dimse.messages import MessageReader, pdus
from imex.dimse.operations import SERVED
from imex.dimse.service import (
    AssociationHandler,
    Ended,
    StoreCommand,
    StoreResponse,
    StoreSink,
)
from imex.dimse.sop_classes import VERIFICATION
from imex.dimse.statuses import Status, is_stored
from imex.dimse.upper_layer import UpperLayer

log = logging.getLogger(__name__)

_IN_A_ROW = 8
"""Operations of one association before others have their turn, where nothing else makes it wait."""


class Serving:
    """The life of one association from its acceptance to its end.

    Messages are read one after the other. With a `window` (PS3.7 D.3.3.3) of more than one operation the next
    is read while up to so many stored data sets are made safe, and answers go out in the order in which that
    is done.
    """

    def __init__(  # noqa: PLR0917  called in one place
        self,
        layer: UpperLayer,
        handler: AssociationHandler,
        contexts: Mapping[int, Context],
        fragment_bytes: int,
        limits: Limits,
        window: int = 1,
        exchanges: Exchanges | None = None,
    ) -> None:
        self._layer = layer
        self._handler = handler
        self._contexts = contexts
        self._fragment_bytes = fragment_bytes
        self._limits = limits
        self._reader = MessageReader(layer, limits)
        self._window = window
        self._exchanges = exchanges  # None where there are no other services than storage
        self._committing: dict[int, asyncio.Task[None]] = {}  # by message id
        self._statuses: Counter[int] = Counter()
        self._cut_off = 0
        self._echoes = 0
        self._bytes = 0

    async def run(self) -> None:
        """Serve until the association ends and nothing of it is under way, then tell the handler."""
        try:
            await self._until_end()
            await self._settled()
        finally:
            if self._exchanges is not None:
                await self._exchanges.ended()
            late = list(self._committing.values())  # there are some where this is cancelled
            for commit in late:
                commit.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            await _quietly(self._handler.ended(self._outcome()))

    async def _until_end(self) -> None:
        try:
            await self._serve()
        except ProtocolError as error:
            self._layer.violated(error)
        except DimseError as error:
            log.debug("association ended: %s", error)
        finally:
            if self._layer.end is None:
                self._layer.abort(AssociationAborted(0, 0, "association aborted by this side"))

    async def _serve(self) -> None:
        idle = self._limits.idle_s
        operations = 0
        while True:
            if self._exchanges is not None and self._exchanges.busy:
                await self._exchanges.arrival()  # the peer may be silent while it waits for an answer
            message = await self._reader.next_command(idle, f"no request came for {idle:g} s")
            if isinstance(message, ReleaseRequested):
                if self._exchanges is not None:
                    await self._exchanges.released()
                await self._settled()
                self._layer.respond_release()
                return
            if isinstance(message, ReleaseConfirmed):
                return
            await self._operation(*message)
            operations += 1
            if operations % _IN_A_ROW == 0:  # a peer that does not wait for answers is not to keep the loop
                await asyncio.sleep(0)

    async def _operation(self, context_id: int, request: Command) -> None:
        context = self._contexts.get(context_id)
        if context is None:
            raise ProtocolError(f"presentation context {context_id} was not accepted")
        field = request.field
        if field == CommandField.C_STORE_RQ:
            if self._exchanges is not None:
                await self._exchanges.settled()
            await self._store(context_id, context, request)
            return
        if self._exchanges is not None:
            await self._with_services(self._exchanges, context_id, context, request)
            return
        if field == CommandField.C_ECHO_RQ:
            response = await self._echo(context, request)
        elif field == CommandField.C_CANCEL_RQ:
            return  # there is nothing that could be cancelled (PS3.7 9.3.2.3)
        elif field & command.RESPONSE_BIT:
            raise ProtocolError(f"a response {field:04X} came, and nothing had been asked")
        else:
            response = StoreResponse(
                Status.UNRECOGNIZED_OPERATION, f"operation {field:04X} is not served here"
            )
            await self._discard(request)
        await self._answer(context_id, request, response)

    async def _with_services(
        self, exchanges: Exchanges, context_id: int, context: Context, request: Command
    ) -> None:
        """Any operation but a C-STORE, where there are services."""
        field = request.field
        service = exchanges.service(context[0].abstract_syntax)
        if field == CommandField.C_CANCEL_RQ:
            exchanges.cancel(request.require_number(Tag.MESSAGE_ID_RESPONDED_TO))
        elif field & command.RESPONSE_BIT:
            await self._discard(request)  # an N-EVENT-REPORT-RSP may have a reply
            exchanges.responded(request)
        elif service is not None and field in SERVED and field in service.operations:
            data_set = await self._reader.whole_data(service.most_bytes) if request.has_data_set else b""
            operation = operation_of(context, request, data_set)
            if isinstance(operation, StoreResponse):
                await exchanges.take_turn(partial(self._answer, context_id, request, operation))
            else:
                await exchanges.begin(context_id, request, operation, service)
        elif field == CommandField.C_ECHO_RQ:
            answer = await self._echo(context, request)
            await exchanges.take_turn(partial(self._answer, context_id, request, answer))
        else:
            await self._discard(request)
            words = f"operation {field:04X} is not served here"
            refusal = StoreResponse(Status.UNRECOGNIZED_OPERATION, words)
            await exchanges.take_turn(partial(self._answer, context_id, request, refusal))

    async def _answer(self, context_id: int, request: Command, response: StoreResponse) -> None:
        encoded = command.response(request, response.status, response.comment)
        self._layer.send(list(pdus(context_id, encoded, self._fragment_bytes)))
        await self._layer.drain()

    async def _echo(self, context: Context, request: Command) -> StoreResponse:
        await self._discard(request)
        if context[0].abstract_syntax != VERIFICATION:
            return StoreResponse(Status.SOP_CLASS_NOT_SUPPORTED, "C-ECHO needs the Verification SOP class")
        self._echoes += 1
        try:
            return StoreResponse(await self._handler.echo())
        except Exception as error:  # noqa: BLE001  the handler is foreign code; the peer gets an answer whatever
            return _failure(error)

    async def _store(self, context_id: int, context: Context, request: Command) -> None:
        sink = await self._begin(context, request)
        if isinstance(sink, StoreResponse):
            await self._discard(request)
            await self._stored(context_id, request, sink)
            return
        refusal = await self._fill(sink)
        if refusal is not None:
            await self._stored(context_id, request, refusal)
        elif self._window == 1:
            await self._stored(context_id, request, await _committed(sink))
        else:
            commit = asyncio.create_task(self._commit(context_id, request, sink))
            self._committing[request.require_number(Tag.MESSAGE_ID)] = commit
            while len(self._committing) >= self._window:
                await asyncio.wait(self._committing.values(), return_when=asyncio.FIRST_COMPLETED)

    async def _begin(self, context: Context, request: Command) -> StoreSink | StoreResponse:
        started = _store_command(context, request)
        if isinstance(started, StoreResponse):
            return started
        if started.message_id in self._committing:
            return StoreResponse(Status.DUPLICATE_INVOCATION, "message id of an operation under way")
        try:
            return await self._handler.store(started)
        except Exception as error:  # noqa: BLE001  as above
            return _failure(error)

    async def _stored(self, context_id: int, request: Command, response: StoreResponse) -> None:
        self._statuses[response.status] += 1
        await self._answer(context_id, request, response)

    async def _commit(self, context_id: int, request: Command, sink: StoreSink) -> None:
        """Make one of several data sets safe and answer; the association may have ended meanwhile."""
        try:
            await self._stored(context_id, request, await _committed(sink))
        except DimseError as error:
            log.debug("nobody is left to hear an answer: %s", error)
        finally:
            del self._committing[request.require_number(Tag.MESSAGE_ID)]

    async def _settled(self) -> None:
        """Wait until nothing is being made safe any more and all of that is answered."""
        while self._committing:
            await asyncio.wait(self._committing.values())

    async def _fill(self, sink: StoreSink) -> StoreResponse | None:
        """Let the sink take the data set; the answer, where it would not."""
        refusal: StoreResponse | None = None
        last = False
        try:
            while not last:
                data, last = await self._reader.next_data()
                self._bytes += len(data)
                if refusal is None and data:
                    try:
                        await sink.write(data)
                    except Exception as error:  # noqa: BLE001  as above
                        refusal = _failure(error)
                        await self._abandon(sink)
        except BaseException:
            self._cut_off += 1
            if refusal is None:
                await self._abandon(sink)
            raise
        return refusal

    async def _abandon(self, sink: StoreSink) -> None:
        await _quietly(sink.abort())

    async def _discard(self, request: Command) -> None:
        """Read the data set, if one follows, and throw it away: DICOM has no way to decline it."""
        last = not request.has_data_set
        while not last:
            data, last = await self._reader.next_data()
            self._bytes += len(data)

    def _outcome(self) -> Ended:
        end = self._layer.end
        kind: Literal["released", "aborted", "lost", "timeout"]
        match end:
            case AssociationReleased():
                kind = "released"
            case DimseTimeout():
                kind = "timeout"
            case AssociationAborted() | ProtocolError():
                kind = "aborted"
            case _:
                kind = "lost"
        stored = sum(count for status, count in self._statuses.items() if is_stored(status))
        failed = self._statuses.total() - stored + self._cut_off
        return Ended(kind, str(end), stored, failed, self._echoes, self._bytes, dict(self._statuses))


async def _committed(sink: StoreSink) -> StoreResponse:
    try:
        return await sink.commit()
    except Exception as error:  # noqa: BLE001  the sink is foreign code; the peer gets an answer whatever
        return _failure(error)


async def _quietly(call: Awaitable[None]) -> None:
    try:
        await call
    except Exception:
        log.exception("an association's user failed to hear of an end")


def _failure(error: Exception) -> StoreResponse:
    if isinstance(error, Refused):
        return StoreResponse(error.status, error.comment)
    log.error("an operation failed", exc_info=error)
    return StoreResponse(Status.PROCESSING_FAILURE, "processing failure: the receiver's log says why")


def _store_command(context: Context, request: Command) -> StoreCommand | StoreResponse:
    """The request in typed form, or the answer to one that cannot be carried out (PS3.7 9.1.1.1)."""
    proposed, transfer_syntax = context
    sop_class = request.uid(Tag.AFFECTED_SOP_CLASS_UID)
    sop_instance = request.text(Tag.AFFECTED_SOP_INSTANCE_UID)
    if sop_class != proposed.abstract_syntax or sop_class == VERIFICATION:
        return StoreResponse(
            Status.SOP_CLASS_NOT_SUPPORTED,
            "SOP class differs from that of the presentation context",
        )
    if sop_instance is None:
        return StoreResponse(Status.INVALID_SOP_INSTANCE, "no Affected SOP Instance UID")
    if len(sop_instance) > MAX_UID_CHARS:
        # one instance is refused; an abort would cost the sender the rest of its study as well
        words = f"Affected SOP Instance UID is longer than {MAX_UID_CHARS} characters"
        return StoreResponse(Status.INVALID_SOP_INSTANCE, words)
    if not request.has_data_set:
        return StoreResponse(Status.CANNOT_UNDERSTAND, "C-STORE without a data set")
    return StoreCommand(
        request.require_number(Tag.MESSAGE_ID),
        sop_class,
        sop_instance,
        transfer_syntax,
        request.number(Tag.PRIORITY) or 0,
        request.text(Tag.MOVE_ORIGINATOR_AE),
        request.number(Tag.MOVE_ORIGINATOR_MESSAGE_ID),
    )
