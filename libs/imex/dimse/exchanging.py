"""Carries out the operations of an association's services, while more of what the peer sends is read.

A query may be cancelled, and a C-GET's instances are answered for, on the association that is busy with it:
so each operation is a task of its own. They take turns, as the messages of two must not be mixed.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Mapping

from imex.dimse import command
from imex.dimse.command import Command, CommandField, Tag
from imex.dimse.errors import (
    AssociationAborted,
    AssociationReleased,
    ContextNotAccepted,
    DimseError,
    DimseTimeout,
    ProtocolError,
    Refused,
)
from imex.dimse.items import ProposedContext
from imex.dimse.limits import Limits
from imex.dimse.messages import send_message
from imex.dimse.operations import Answer, Operation, Service, SubOperations, Terms, too_long
from imex.dimse.service import StoreResponse
from imex.dimse.sop_classes import is_storage
from imex.dimse.statuses import Status
from imex.dimse.upper_layer import UpperLayer

log = logging.getLogger(__name__)

Context = tuple[ProposedContext, str]  # what was proposed, and the transfer syntax that was chosen


class Exchanges:
    """The operations under way on one association, and what this side asks of the peer meanwhile."""

    def __init__(  # noqa: PLR0917  called in one place
        self,
        layer: UpperLayer,
        terms: Terms,
        contexts: Mapping[int, Context],
        fragment_bytes: int,
        limits: Limits,
        returned: frozenset[str],
    ) -> None:
        """`returned` are the SOP classes of which the peer is the SCP."""
        self._layer = layer
        self._contexts = contexts
        self._fragment_bytes = fragment_bytes
        self._limits = limits
        self._services = terms.services
        self.turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: dict[int, _Exchange] = {}  # by message id, until its last response
        self._exchanges: set[_Exchange] = set()  # until nothing more is done for it
        self._invoked: tuple[int, CommandField, asyncio.Future[Command]] | None = None
        self._released = False
        self._message_id = 0
        self.peer_stores = {
            (proposed.abstract_syntax, syntax): context_id
            for context_id, (proposed, syntax) in contexts.items()
            if proposed.abstract_syntax in returned and is_storage(proposed.abstract_syntax)
        }

    @property
    def busy(self) -> bool:
        """Whether any is under way."""
        return bool(self._tasks)

    @property
    def over(self) -> bool:
        """Whether the association has ended."""
        return self._layer.end is not None

    def service(self, abstract_syntax: str) -> Service | None:
        """What is served on such a context."""
        return self._services.get(abstract_syntax)

    async def arrival(self) -> None:
        """Wait until none is under way, or something of the peer's can be received."""
        arrival = asyncio.ensure_future(self._layer.arrival())
        try:
            await asyncio.wait({arrival, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
            await asyncio.gather(arrival, return_exceptions=True)

    async def begin(self, context_id: int, request: Command, operation: Operation, service: Service) -> None:
        """Carry out an operation when it is its turn; waits while too many do."""
        exchange = _Exchange(self, context_id, request, operation)
        if operation.message_id in self._under_way:
            words = "message id of an operation under way"
            await self.take_turn(lambda: exchange.answer(Answer(Status.DUPLICATE_INVOCATION, words)))
        else:
            self._under_way[operation.message_id] = exchange
            self._exchanges.add(exchange)
            self._run(self._perform(exchange, service))
            await self._some_room()

    async def take_turn(self, call: Callable[[], Awaitable[None]]) -> None:
        """Let `call`, which sends, have its turn after what is under way; waits while too much is."""
        self._run(self._in_turn(call))
        await self._some_room()

    async def _some_room(self) -> None:
        while len(self._tasks) >= self._limits.operations and not self.over:
            await self._one_less()

    def _run(self, call: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._quietly(call))
        self._tasks.add(task)

        def done(_: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            call.close()  # it may have ended before it began

        task.add_done_callback(done)

    def cancel(self, message_id: int) -> None:
        """C-CANCEL (PS3.7 9.3.2.3); no effect on what is not under way."""
        if (exchange := self._under_way.get(message_id)) is not None:
            exchange.cancelled = True

    def responded(self, response: Command) -> None:
        """A response has come. Raises ProtocolError where it answers nothing that was asked."""
        if self._invoked is None:
            raise ProtocolError(f"a response {response.field:04X} came, and nothing had been asked")
        message_id, field, waiting = self._invoked
        if response.field != field or response.require_number(Tag.MESSAGE_ID_RESPONDED_TO) != message_id:
            raise ProtocolError("the peer answered something that had not been asked")
        if not waiting.done():
            waiting.set_result(response)

    async def released(self) -> None:
        """The peer wants to release the association: what is under way stops as if it were cancelled."""
        self._released = True
        for exchange in self._exchanges:
            exchange.cancelled = True
        if self._invoked is not None and not self._invoked[2].done():
            self._invoked[2].set_exception(AssociationReleased("released instead of answered"))
        await self.settled()

    async def settled(self) -> None:
        """Wait until none is under way, or the association has ended."""
        while self._tasks and not self.over:
            await self._one_less()

    async def _one_less(self) -> None:
        await asyncio.wait({self._layer.ending(), *self._tasks}, return_when=asyncio.FIRST_COMPLETED)

    async def ended(self) -> None:
        """The association is over: nothing of it goes on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, context_id: int, message: bytes, data_set: bytes = b"") -> None:
        """Send a whole message, and wait until the peer has read enough for another."""
        data = memoryview(data_set) if data_set else None
        await send_message(self._layer, context_id, message, data, len(data_set), self._fragment_bytes)

    async def store(
        self,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        chunks: AsyncIterable[bytes | memoryview] | memoryview,
        length: int,
    ) -> StoreResponse:
        """C-STORE to the peer; see `imex.dimse.operations.Exchange.store`."""
        context_id = self.peer_stores.get((sop_class, transfer_syntax))
        if context_id is None:
            raise ContextNotAccepted(f"the peer does not accept SOP class {sop_class} in {transfer_syntax}")

        def request(message_id: int) -> bytes:
            return command.store_request(message_id, sop_class, sop_instance)

        response = await self._invoke(context_id, CommandField.C_STORE_RSP, request, chunks, length)
        return StoreResponse(response.require_number(Tag.STATUS), response.text(Tag.ERROR_COMMENT) or "")

    async def report(self, sop_class: str, sop_instance: str, event_type: int, data_set: bytes) -> int:
        """N-EVENT-REPORT to the peer; see `imex.dimse.operations.Exchange.report`."""
        found = (
            id_ for id_, (proposed, _) in self._contexts.items() if proposed.abstract_syntax == sop_class
        )
        context_id = next(found, None)
        if context_id is None:
            raise ContextNotAccepted(f"the peer did not propose SOP class {sop_class}")

        def request(message_id: int) -> bytes:
            return command.event_report_request(
                message_id, sop_class, sop_instance, event_type, data_set=bool(data_set)
            )

        data = memoryview(data_set) if data_set else None
        response = await self._invoke(
            context_id, CommandField.N_EVENT_REPORT_RSP, request, data, len(data_set)
        )
        return response.require_number(Tag.STATUS)

    async def _invoke(
        self,
        context_id: int,
        field: CommandField,
        request: Callable[[int], bytes],
        chunks: AsyncIterable[bytes | memoryview] | memoryview | None,
        length: int,
    ) -> Command:
        if self._released:
            raise AssociationReleased("the peer has released the association")
        self._message_id = self._message_id % 0xFFFF + 1
        waiting: asyncio.Future[Command] = asyncio.get_running_loop().create_future()
        self._invoked = self._message_id, field, waiting
        try:
            message = request(self._message_id)
            await send_message(self._layer, context_id, message, chunks, length, self._fragment_bytes)
            async with asyncio.timeout(self._limits.response_s):
                return await waiting
        except TimeoutError:
            late = DimseTimeout(f"no response within {self._limits.response_s:g} s")
            self._layer.abort(late)
            raise late from None
        except AssociationReleased:
            raise
        except BaseException as error:  # a data set cannot be broken off
            cut_off = AssociationAborted(0, 0, "a data set was cut off")
            self._layer.abort(error if isinstance(error, DimseError) else cut_off)
            raise
        finally:
            self._invoked = None
            if not waiting.cancel() and not waiting.cancelled():
                waiting.exception()  # nobody asks any more

    async def _quietly(self, call: Coroutine[None, None, None]) -> None:
        try:
            await call
        except DimseError as error:
            log.debug("nobody is left to hear an answer: %s", error)
        except Exception:
            log.exception("an operation could not be answered")
            self._layer.abort(AssociationAborted(0, 0, "an operation could not be answered"))

    async def _in_turn(self, call: Callable[[], Awaitable[None]]) -> None:
        async with self.turn:
            await call()

    async def _perform(self, exchange: "_Exchange", service: Service) -> None:
        try:
            async with exchange.turn():
                await exchange.finish(await _performed(exchange, service))
        finally:
            self._exchanges.discard(exchange)

    def answered(self, exchange: "_Exchange") -> None:
        """Its last response is sent: others have their turn, and its message id may be used again."""
        self.turn.release()
        self._under_way.pop(exchange.operation.message_id, None)


class _Exchange:
    """See imex.dimse.operations.Exchange."""

    def __init__(self, exchanges: Exchanges, context_id: int, request: Command, operation: Operation) -> None:
        self._exchanges = exchanges
        self._context_id = context_id
        self._request = request
        self._answered = False
        self._has_turn = False
        self.operation = operation
        self.cancelled = False

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for its turn, which ends with its last response or with the block."""
        await self._exchanges.turn.acquire()
        self._has_turn = True
        try:
            yield
        finally:
            self._give_up_turn()

    def _give_up_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._exchanges.answered(self)

    @contextlib.asynccontextmanager
    async def _own_turn(self) -> AsyncIterator[None]:
        """The turn that it has, or another one after its last response."""
        if self._has_turn:
            yield
        else:
            async with self._exchanges.turn:
                yield

    async def pending(
        self,
        data_set: bytes = b"",
        *,
        counts: SubOperations | None = None,
        status: int = Status.PENDING,
    ) -> None:
        await self._respond(status, "", data_set, counts)

    async def answer(self, answer: Answer) -> None:
        self._answered = True
        await self._respond(answer.status, answer.comment, answer.data_set, answer.counts)
        self._give_up_turn()

    @property
    def over(self) -> bool:
        """Whether the association has ended."""
        return self._exchanges.over

    async def finish(self, answer: Answer) -> None:
        """Answer, unless that was done before."""
        if not self._answered:
            await self.answer(answer)

    def stores(self, sop_class: str, transfer_syntax: str) -> bool:
        return (sop_class, transfer_syntax) in self._exchanges.peer_stores

    async def store(
        self,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        chunks: AsyncIterable[bytes | memoryview] | memoryview,
        length: int,
    ) -> StoreResponse:
        async with self._own_turn():
            return await self._exchanges.store(sop_class, sop_instance, transfer_syntax, chunks, length)

    async def report(self, sop_class: str, sop_instance: str, event_type: int, data_set: bytes = b"") -> int:
        async with self._own_turn():
            return await self._exchanges.report(sop_class, sop_instance, event_type, data_set)

    async def _respond(
        self, status: int, comment: str, data_set: bytes, counts: SubOperations | None
    ) -> None:
        others: dict[Tag, int] = {}
        if counts is not None:
            if counts.remaining is not None:
                others[Tag.REMAINING_SUB_OPERATIONS] = counts.remaining
            others[Tag.COMPLETED_SUB_OPERATIONS] = counts.completed
            others[Tag.FAILED_SUB_OPERATIONS] = counts.failed
            others[Tag.WARNING_SUB_OPERATIONS] = counts.warning
        if self.operation.type_id is not None:
            of = self.operation.field == CommandField.N_ACTION_RQ
            others[Tag.ACTION_TYPE_ID if of else Tag.EVENT_TYPE_ID] = self.operation.type_id
        message = command.response(self._request, status, comment, data_set=bool(data_set), others=others)
        await self._exchanges.send(self._context_id, message, data_set)


async def _performed(exchange: _Exchange, service: Service) -> Answer:
    try:
        return await service.perform(exchange)
    except Refused as refused:
        return Answer(refused.status, refused.comment)
    except Exception as error:
        if isinstance(error, DimseError) and exchange.over:
            raise
        log.exception("an operation failed")
        return Answer(Status.PROCESSING_FAILURE, "processing failure: the receiver's log says why")


def operation_of(context: Context, request: Command, data_set: bytes | None) -> Operation | StoreResponse:
    """The request in typed form, or the answer to one that cannot be carried out.

    `data_set` is None where it was too long.
    """
    proposed, transfer_syntax = context
    field = CommandField(request.field)
    if data_set is None:
        return StoreResponse(too_long(field), "the request's data set is too long")
    sop_class = request.uid(Tag.AFFECTED_SOP_CLASS_UID) or request.uid(Tag.REQUESTED_SOP_CLASS_UID)
    if sop_class != proposed.abstract_syntax:
        words = "SOP class differs from that of the presentation context"
        return StoreResponse(Status.SOP_CLASS_NOT_SUPPORTED, words)
    sop_instance = request.uid(Tag.REQUESTED_SOP_INSTANCE_UID) or request.uid(Tag.AFFECTED_SOP_INSTANCE_UID)
    type_id = request.number(Tag.ACTION_TYPE_ID)
    return Operation(
        field=field,
        message_id=request.require_number(Tag.MESSAGE_ID),
        sop_class_uid=sop_class,
        transfer_syntax=transfer_syntax,
        data_set=data_set,
        priority=request.number(Tag.PRIORITY) or 0,
        move_destination=request.text(Tag.MOVE_DESTINATION) or "",
        sop_instance_uid=sop_instance or "",
        type_id=type_id if type_id is not None else request.number(Tag.EVENT_TYPE_ID),
    )
