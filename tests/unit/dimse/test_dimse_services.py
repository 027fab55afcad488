"""Services beside storage on a fake transport: pending answers, cancelling, instances given back, bounds."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imex.dimse import command, pdu
from imex.dimse.command import Command, CommandField, Tag
from imex.dimse.errors import ContextNotAccepted, DimseError, Refused
from imex.dimse.exchanging import Exchanges
from imex.dimse.items import ProposedContext
from imex.dimse.operations import Answer, Exchange, Operation, SubOperations, Terms
from imex.dimse.service import Ended, StoreCommand, StoreResponse
from imex.dimse.serving import Serving
from imex.dimse.statuses import Status
from imex.testing.upper_layer import LIMITS, RELEASE_RP, RELEASE_RQ, Peer, accepted

CT, EXPLICIT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
FIND, COMMIT, ECHO = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.20.1", "1.2.840.10008.1.1"
CONTEXTS = {
    1: (ProposedContext(1, ECHO, (IMPLICIT,)), IMPLICIT),
    3: (ProposedContext(3, FIND, (IMPLICIT,)), IMPLICIT),
    5: (ProposedContext(5, CT, (EXPLICIT,)), EXPLICIT),
    7: (ProposedContext(7, COMMIT, (IMPLICIT,)), IMPLICIT),
}
Perform = Callable[[Exchange], Awaitable[Answer]]


class Handler:
    def __init__(self) -> None:
        self.outcome: Ended | None = None
        self.told = 0

    async def store(self, command: StoreCommand) -> StoreResponse:
        return StoreResponse(Status.NOT_AUTHORIZED)

    async def echo(self) -> int:
        return 0

    async def ended(self, outcome: Ended) -> None:
        self.outcome = outcome
        self.told += 1


@dataclass(frozen=True)
class Performs:
    does: Perform
    operations: frozenset[CommandField] = frozenset(
        {
            CommandField.C_FIND_RQ,
            CommandField.C_GET_RQ,
            CommandField.C_MOVE_RQ,
            CommandField.N_ACTION_RQ,
        }
    )
    most_bytes: int = 100

    async def perform(self, exchange: Exchange) -> Answer:
        return await self.does(exchange)


@dataclass
class Sent:
    """A message that came out: its command set, and the data set behind it."""

    context_id: int
    command: Command
    data: bytes = b""

    @property
    def status(self) -> int | None:
        return self.command.number(Tag.STATUS)


@dataclass
class World:
    """An association with a service, and its peer's side of the wire."""

    peer: Peer
    serving: Serving
    handler: Handler
    run: asyncio.Task[None]
    wire: bytes = b""
    messages: list[Sent] = field(default_factory=list)

    def asks(
        self, kind: CommandField, message_id: int = 1, data: bytes | None = b"query!", **more: object
    ) -> None:
        """A request on the context of its SOP class."""
        context_id = 7 if kind == CommandField.N_ACTION_RQ else 3
        of = CONTEXTS[context_id][0].abstract_syntax
        uid = Tag.REQUESTED_SOP_CLASS_UID if context_id == 7 else Tag.AFFECTED_SOP_CLASS_UID
        elements: dict[Tag, int | str] = {
            uid: of,
            Tag.COMMAND_FIELD: kind,
            Tag.MESSAGE_ID: message_id,
            Tag.DATA_SET_TYPE: command.NO_DATA_SET if data is None else 1,
        }
        for name, value in more.items():
            assert isinstance(value, int | str)
            elements[Tag[name]] = value
        self.says(context_id, command.encode(elements), data)

    def says(self, context_id: int, command_set: bytes, data: bytes | None = None) -> None:
        """A message."""
        wire = pdu.data_header(context_id, len(command_set), command=True, last=True) + command_set
        if data is not None:
            wire += pdu.data_header(context_id, len(data), command=False, last=True) + data
        self.peer.brings(wire)

    def answers(self, message: Sent, status: int) -> None:
        """The response to a request that came out."""
        self.says(message.context_id, command.response(message.command, status))

    def cancels(self, message_id: int) -> None:
        """A C-CANCEL-RQ (PS3.7 9.3.2.3)."""
        self.says(
            3,
            command.encode(
                {
                    Tag.COMMAND_FIELD: CommandField.C_CANCEL_RQ,
                    Tag.MESSAGE_ID_RESPONDED_TO: message_id,
                    Tag.DATA_SET_TYPE: command.NO_DATA_SET,
                }
            ),
        )

    async def hears(self) -> Sent:
        """The next whole message."""
        for _ in range(1000):
            self._read()
            if self.messages:
                first = self.messages[0]
                complete = not first.command.has_data_set or first.data.endswith(b"!")
                if complete:
                    return self.messages.pop(0)
            await asyncio.sleep(0)
        raise AssertionError("nothing came")

    def _read(self) -> None:
        self.wire += self.peer.sent()
        while len(self.wire) >= 6:
            kind, length = struct.unpack_from(">BxI", self.wire)
            if kind != pdu.PduType.DATA_TF or len(self.wire) < 6 + length:
                return
            body, self.wire = self.wire[6 : 6 + length], self.wire[6 + length :]
            context_id, control = body[4], body[5]
            if control & pdu.COMMAND_BIT:
                self.messages.append(Sent(context_id, command.decode(body[6:])))
            else:
                assert self.messages[-1].context_id == context_id, "messages are not mixed"
                self.messages[-1].data += body[6:]

    async def goes_on(self) -> None:
        """Let the association's tasks do all that they can."""
        for _ in range(50):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(perform: Perform, *, most_bytes: int = 100) -> AsyncIterator[World]:
    limits = replace(LIMITS, receive_window=100_000)
    peer = accepted(limits)
    service = Performs(perform, most_bytes=most_bytes)
    terms = Terms(storage=False, returns=True, services={FIND: service, COMMIT: service})
    exchanges = Exchanges(peer.layer, terms, CONTEXTS, 16_000, limits, frozenset({CT}))
    handler = Handler()
    life = Serving(peer.layer, handler, CONTEXTS, 16_000, limits, 1, exchanges)
    run = asyncio.create_task(life.run())
    try:
        yield World(peer, life, handler, run)
    finally:
        peer.layer.abort(DimseError("the test is over"))
        await run


async def _matches(exchange: Exchange) -> Answer:
    await exchange.pending(b"first!")
    await exchange.pending(b"second!!")
    return Answer()


async def test_matches_come_as_pending_answers_with_data_sets_and_then_a_last_one() -> None:
    async with serving(_matches) as world:
        world.asks(CommandField.C_FIND_RQ, 7)
        heard = [await world.hears() for _ in range(3)]
    assert [(message.status, message.data) for message in heard] == [
        (0xFF00, b"first!"),
        (0xFF00, b"second!!"),
        (0, b""),
    ]
    assert {message.command.number(Tag.MESSAGE_ID_RESPONDED_TO) for message in heard} == {7}
    assert {message.command.field for message in heard} == {0x8020}


async def test_a_request_is_given_in_typed_form() -> None:
    seen: list[Operation] = []

    async def perform(exchange: Exchange) -> Answer:
        seen.append(exchange.operation)
        return Answer(counts=SubOperations(None, 3, 2, 1))

    async with serving(perform) as world:
        world.asks(CommandField.C_MOVE_RQ, 9, b"what", MOVE_DESTINATION="PACS", PRIORITY=2)
        heard = await world.hears()
        world.asks(CommandField.N_ACTION_RQ, 10, None, REQUESTED_SOP_INSTANCE_UID="1.2.3", ACTION_TYPE_ID=1)
        acted = await world.hears()
    move, action = seen
    assert (move.field, move.data_set, move.move_destination, move.priority) == (0x21, b"what", "PACS", 2)
    counts = [heard.command.number(Tag(tag)) for tag in range(0x1020, 0x1024)]
    assert counts == [None, 3, 2, 1]
    assert (action.sop_instance_uid, action.type_id, action.data_set) == ("1.2.3", 1, b"")
    assert acted.command.text(Tag.AFFECTED_SOP_CLASS_UID) == COMMIT
    assert acted.command.text(Tag.AFFECTED_SOP_INSTANCE_UID) == "1.2.3"
    assert acted.command.number(Tag.ACTION_TYPE_ID) == 1


async def test_a_query_is_cancelled_while_it_is_under_way_and_the_next_is_served() -> None:
    async def perform(exchange: Exchange) -> Answer:
        await exchange.pending(b"one!")
        for _ in range(1000):
            if exchange.cancelled:
                return Answer(Status.CANCELLED)
            await asyncio.sleep(0)
        return Answer()

    async with serving(perform) as world:
        for message_id in (1, 2):
            world.asks(CommandField.C_FIND_RQ, message_id)
            assert (await world.hears()).data == b"one!"
            world.cancels(3 - message_id)  # another's
            await asyncio.sleep(0)
            world.cancels(message_id)
            assert (await world.hears()).status == 0xFE00


async def test_a_silent_peer_that_waits_for_its_answer_is_not_idle_until_it_has_it() -> None:
    gate = asyncio.Event()

    async def perform(exchange: Exchange) -> Answer:
        await gate.wait()
        return Answer()

    async with serving(perform) as world:
        world.asks(CommandField.C_FIND_RQ)
        await world.goes_on()
        world.peer.clock.advance(10_000)
        gate.set()
        assert (await world.hears()).status == 0
        await world.goes_on()
        world.peer.clock.advance(LIMITS.idle_s + 1)
        await world.run
        assert world.handler.outcome is not None
        assert world.handler.outcome.kind == "timeout"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (CommandField.C_FIND_RQ, 0xA700),
        (CommandField.C_MOVE_RQ, 0xA701),
        (CommandField.C_GET_RQ, 0xA701),
        (CommandField.N_ACTION_RQ, 0x0213),
    ],
)
async def test_a_data_set_beyond_the_limit_is_thrown_away_and_refused(
    kind: CommandField, status: int
) -> None:
    async with serving(_matches) as world:
        world.asks(kind, 1, bytes(101))
        heard = await world.hears()
        assert (heard.status, heard.command.text(Tag.ERROR_COMMENT)) == (
            status,
            "the request's data set is too long",
        )
        world.asks(CommandField.C_FIND_RQ, 2, bytes(100))
        assert (await world.hears()).data == b"first!"


async def test_operations_that_nobody_serves_are_refused_and_the_association_lives() -> None:
    async with serving(_matches) as world:
        world.asks(CommandField.N_EVENT_REPORT_RQ)
        assert (await world.hears()).status == Status.UNRECOGNIZED_OPERATION
        world.says(1, command.echo_request(2, ECHO))
        assert (await world.hears()).status == 0
        world.asks(CommandField.C_FIND_RQ, 3, AFFECTED_SOP_CLASS_UID="1.2.3")
        assert (await world.hears()).status == Status.SOP_CLASS_NOT_SUPPORTED
        world.says(5, command.store_request(4, CT, "1.2.3"), b"data")
        assert (await world.hears()).status == Status.NOT_AUTHORIZED


async def test_what_waits_for_an_operation_that_takes_long_is_bounded() -> None:
    gate = asyncio.Event()

    async def perform(exchange: Exchange) -> Answer:
        await gate.wait()
        return Answer()

    async with serving(perform) as world:
        world.asks(CommandField.C_FIND_RQ)
        for message_id in range(2, 100):
            world.says(1, command.echo_request(message_id, ECHO))
            world.asks(CommandField.N_EVENT_REPORT_RQ, message_id)
        for _ in range(10):
            await world.goes_on()
        waiting = [task for task in asyncio.all_tasks() if "Exchanges" in repr(task.get_coro())]
        assert 1 < len(waiting) <= LIMITS.operations + 1
        gate.set()
        assert [(await world.hears()).status for _ in range(197)].count(0) == 99


@pytest.mark.parametrize(
    ("error", "status"), [(Refused(0xA900, "no such level"), 0xA900), (ValueError("?"), 0x0110)]
)
async def test_an_operation_that_fails_is_answered(error: Exception, status: int) -> None:
    async def perform(exchange: Exchange) -> Answer:
        raise error

    async with serving(perform) as world:
        world.asks(CommandField.C_FIND_RQ)
        assert (await world.hears()).status == status


async def test_an_answer_that_cannot_be_sent_ends_the_association() -> None:
    async def perform(exchange: Exchange) -> Answer:
        return Answer(counts=SubOperations(None, 70_000))

    async with serving(perform) as world:
        world.asks(CommandField.C_MOVE_RQ)
        await world.run
        assert world.handler.outcome is not None
        assert world.handler.outcome.kind == "aborted"


async def test_instances_are_given_back_on_the_association_and_their_answers_counted() -> None:
    async def perform(exchange: Exchange) -> Answer:
        assert exchange.stores(CT, EXPLICIT)
        assert not exchange.stores(CT, IMPLICIT)
        with pytest.raises(ContextNotAccepted):
            await exchange.store(CT, "1.1", IMPLICIT, memoryview(b"data!!"), 6)
        statuses = [
            (await exchange.store(CT, uid, EXPLICIT, memoryview(b"pixel!"), 6)).status
            for uid in ("1.1", "1.2")
        ]
        assert statuses == [0, 0xA700]
        return Answer(Status.SUB_OPERATIONS_FAILED, counts=SubOperations(None, 1, 1))

    async with serving(perform) as world:
        world.asks(CommandField.C_GET_RQ)
        for uid, status in (("1.1", 0), ("1.2", 0xA700)):
            stored = await world.hears()
            assert (stored.context_id, stored.command.field, stored.data) == (5, 1, b"pixel!")
            assert stored.command.text(Tag.AFFECTED_SOP_INSTANCE_UID) == uid
            world.answers(stored, status)
        assert (await world.hears()).status == 0xB000


async def test_a_request_that_crosses_what_is_asked_of_the_peer_has_its_turn_afterwards() -> None:
    async def perform(exchange: Exchange) -> Answer:
        if exchange.operation.message_id == 1:
            await exchange.answer(Answer())
            assert await exchange.report(COMMIT, "1.2.3", 1, b"report!!") == 0
        return Answer(0x0112)

    async with serving(perform) as world:
        world.asks(CommandField.N_ACTION_RQ, 1)
        assert (await world.hears()).status == 0
        report = await world.hears()
        assert (report.command.field, report.command.number(Tag.EVENT_TYPE_ID)) == (0x100, 1)
        world.asks(CommandField.N_ACTION_RQ, 2)
        world.says(1, command.echo_request(3, ECHO))
        world.answers(report, 0)
        assert (await world.hears()).status == 0x0112
        assert (await world.hears()).command.field == 0x8030


async def test_what_is_done_after_the_last_answer_holds_nobody_up() -> None:
    told = asyncio.Event()

    async def perform(exchange: Exchange) -> Answer:
        if exchange.operation.data_set == b"first!":
            await exchange.answer(Answer())
            await told.wait()
            await exchange.report(COMMIT, "1.2.3", 1, b"report!!")
        return Answer(0x0112)

    async with serving(perform) as world:
        world.asks(CommandField.N_ACTION_RQ, 1, b"first!")
        assert (await world.hears()).status == 0
        world.asks(CommandField.N_ACTION_RQ, 1)  # the number is free again
        assert (await world.hears()).status == 0x0112
        told.set()
        assert (await world.hears()).data == b"report!!"


async def test_a_release_cancels_what_is_done_after_a_last_answer_too() -> None:
    async def perform(exchange: Exchange) -> Answer:
        await exchange.answer(Answer())
        for _ in range(1000):
            if exchange.cancelled:
                return Answer()
            await asyncio.sleep(0)
        raise AssertionError("the peer has released the association")

    async with serving(perform) as world:
        world.asks(CommandField.N_ACTION_RQ)
        await world.hears()
        world.peer.brings(RELEASE_RQ)
        await world.run
        assert world.wire + world.peer.sent() == RELEASE_RP
        assert world.handler.outcome is not None
        assert world.handler.outcome.kind == "released"


async def test_an_answer_to_nothing_aborts_the_association() -> None:
    async with serving(_matches) as world:
        stray = command.decode(command.store_request(1, CT, "1.1"))
        world.says(5, command.response(stray, 0))
        await world.run
        assert world.handler.outcome is not None
        assert world.handler.outcome.kind == "aborted"


async def test_a_peer_that_releases_in_the_middle_is_cancelled_first() -> None:
    async def perform(exchange: Exchange) -> Answer:
        with contextlib.suppress(DimseError):
            await exchange.store(CT, "1.1", EXPLICIT, memoryview(b"pixel!"), 6)
        return Answer(Status.CANCELLED if exchange.cancelled else Status.SUCCESS)

    async with serving(perform) as world:
        world.asks(CommandField.C_GET_RQ)
        await world.hears()
        world.peer.brings(RELEASE_RQ)
        assert (await world.hears()).status == 0xFE00
        await world.run
        assert world.wire + world.peer.sent() == RELEASE_RP


async def test_what_is_under_way_ends_with_the_association() -> None:
    ended = asyncio.Event()

    async def perform(exchange: Exchange) -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Answer()

    async with serving(perform) as world:
        world.asks(CommandField.C_FIND_RQ)
        await world.goes_on()
        world.peer.layer.connection_lost(None)
        await world.run
        assert ended.is_set()
        assert world.handler.outcome is not None
        assert world.handler.outcome.kind == "lost"


async def test_a_message_id_that_is_under_way_is_refused() -> None:
    gate = asyncio.Event()

    async def perform(exchange: Exchange) -> Answer:
        await gate.wait()
        return Answer()

    async with serving(perform) as world:
        world.asks(CommandField.C_FIND_RQ, 1)
        world.asks(CommandField.C_FIND_RQ, 1)
        await world.goes_on()
        gate.set()
        assert [(await world.hears()).status for _ in range(2)] == [0, Status.DUPLICATE_INVOCATION]


MESSAGES = st.sampled_from(["find", "get", "action", "echo", "cancel", "stray", "store", "release", "abort"])


def _brings(world: World, what: str, number: int) -> None:
    stray = command.decode(command.store_request(number, CT, "1.1"))
    match what:
        case "find":
            world.asks(CommandField.C_FIND_RQ, number)
        case "get":
            world.asks(CommandField.C_GET_RQ, number)
        case "action":
            world.asks(CommandField.N_ACTION_RQ, number, None, ACTION_TYPE_ID=1)
        case "echo":
            world.says(1, command.echo_request(number, ECHO))
        case "cancel":
            world.cancels(number)
        case "stray":
            world.says(5, command.response(stray, 0))
        case "store":
            world.says(5, command.store_request(number, CT, "1.1"), b"data")
        case "release":
            world.peer.brings(RELEASE_RQ)
        case _:
            world.peer.brings(pdu.encode_abort(pdu.Abort(0, 0)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(MESSAGES, st.integers(1, 3), st.booleans()), max_size=12))
async def test_whatever_order_messages_come_in_the_association_ends_once_and_leaves_nothing(
    script: list[tuple[str, int, bool]],
) -> None:
    async def perform(exchange: Exchange) -> Answer:
        await exchange.pending(b"match!")
        if exchange.operation.field == CommandField.C_GET_RQ:
            await exchange.store(CT, "1.1", EXPLICIT, memoryview(b"pixel!"), 6)
        return Answer()

    before = asyncio.all_tasks()
    async with serving(perform) as world:
        for what, number, waits in script:
            if world.peer.layer.end is not None:
                break
            _brings(world, what, number)
            if waits:
                await world.goes_on()
                world.peer.sent()
        world.peer.layer.connection_lost(None)
        await world.run
    await asyncio.sleep(0)
    assert world.handler.told == 1
    assert asyncio.all_tasks() == before
