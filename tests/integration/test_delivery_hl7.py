"""Corrections to a system that takes HL7: delivered when it says so, and tried again until it does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from tests.integration.delivery_world import Passage, World, delivery_world

from imex.hl7.adt import MESSAGE_CLASS, PersonFacts, write_adt
from imex.hl7.answer import TAKEN, Verdict, acknowledgement
from imex.hl7.framing import FrameReader, framed
from imex.hl7.message import Message, read
from imex.local.ports import free_ports
from imex.testing.dicom import SyntheticInstance, new_uid, synthetic_study

NOW = datetime(2026, 4, 2, 10, tzinfo=UTC)


@dataclass
class Listener:
    """A system that takes messages; it answers as it is told, in turn, and then that it took them."""

    answers: list[Callable[[Message], bytes | None]] = field(default_factory=list)
    taken: list[Message] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader(1 << 20)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for one in frames.feed(data):
                    message = read(one)
                    answer = self.answers.pop(0)(message) if self.answers else said(TAKEN)(message)
                    if answer is None:
                        writer.close()
                        return
                    if b"|AA|" in answer:
                        self.taken.append(message)
                    writer.write(framed(answer))
        writer.close()


def said(verdict: Verdict) -> Callable[[Message], bytes]:
    return lambda message: acknowledgement(message, verdict, NOW, "PACS")


def hung_up(_message: Message) -> None:
    return None


@asynccontextmanager
async def listening(*answers: Callable[[Message], bytes | None]) -> AsyncIterator[Listener]:
    made = Listener(list(answers))
    (made.port,) = free_ports(1)
    server = await asyncio.start_server(made.serve, "127.0.0.1", made.port)
    try:
        yield made
    finally:
        server.close()


def update() -> SyntheticInstance:
    facts = PersonFacts("123", "RQM", "OKONKWO^CHIDI")
    message = write_adt("demographics", PersonFacts(sex="M"), facts, name=uuid4(), at=NOW)
    return SyntheticInstance(MESSAGE_CLASS, new_uid(), "1.2.840.10008.1.2.1", message)


def known(world: World, port: int, listener: Listener) -> Passage:
    world.endpoint("RT3", port, hl7={"host": "127.0.0.1", "port": listener.port})
    return Passage("RT3", endpoint="pacs/hl7")


async def test_a_message_is_delivered_when_it_is_acknowledged(empty_database_url: str) -> None:
    async with delivery_world(empty_database_url) as world, listening() as pacs:
        passage = known(world, 1, pacs)
        async with world.working():
            await world.issue(passage, [update()])
            await world.until_outcome(passage, "delivered")
        [message] = pacs.taken
        assert message.kind == ("ADT", "A08")
        [receipt] = await world.receipts(passage)
        assert receipt.document["instances"][0]["status"] == "confirmed"


async def test_an_error_and_a_hang_up_are_tried_again_and_a_refusal_is_not(empty_database_url: str) -> None:
    later, never = Verdict("AE", "later", "207"), Verdict("AR", "never", "204")
    async with delivery_world(empty_database_url) as world, listening(said(later), hung_up) as pacs:
        passage = known(world, 1, pacs)
        async with world.working():
            await world.issue(passage, [update()])
            await world.until_outcome(passage, "delivered", 30)
        assert len(pacs.taken) == 1
        async with listening(said(never)) as other:
            refused = known(world, 1, other)
            async with world.working():
                await world.issue(refused, [update()])
                await world.until_outcome(refused, "failed")
            [row] = (await world.instances(refused)).values()
            assert row.reason == "the listener refused the message with AR (code 204)"
            assert not other.taken


async def test_images_never_go_to_a_listener(empty_database_url: str) -> None:
    async with delivery_world(empty_database_url) as world, listening() as pacs:
        passage = known(world, 1, pacs)
        study = synthetic_study(1, size=16)
        async with world.working():
            await world.issue(passage, study.instances)
            await world.until_outcome(passage, "failed")
        [row] = (await world.instances(passage)).values()
        assert row.reason == "an HL7 listener takes messages only"
        assert not pacs.taken
