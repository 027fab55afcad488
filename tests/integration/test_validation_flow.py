"""Validation on a real database: what a batch leaves behind, and what it says."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select

from imex.db import Database
from imex.db.tables.validation import common, instances, links, persons, quarantine, studies
from imex.events import Event, Identity, Sealed, decode
from imex.events.audit import AuditRecorded
from imex.events.commands import (
    LinkCommanded,
    LinkCommandedData,
    NumberCommanded,
    NumberCommandedData,
    QuarantineCommanded,
    QuarantineCommandedData,
)
from imex.events.ids import trace_id
from imex.events.sealed import SealedPerson
from imex.events.validations import (
    AssociationValidated,
    InstanceDiscarded,
    InstanceDuplicated,
    InstanceQuarantined,
    InstanceValidated,
)
from imex.observability.traces import Traces
from imex.settings import TracesSettings
from imex.testing.instances import JANE, SEALER, ended, messages, received
from imex.validation.decisions import CommandsHandler
from imex.validation.handler import InstancesHandler
from imex.validation.identities import Number


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    made = Database(migrated_database_url, "validation")
    yield made
    await made.close()


def open_identity(sealed: Sealed, object_key: str) -> Identity:
    return SEALER.open_as(Identity, sealed, object_key.encode())


class World:
    """A handler with its counts and spans."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.counts: Counter[str] = Counter()
        self.spans = InMemorySpanExporter()
        traces = Traces("validation", TracesSettings(exporter="none"), exporter=self.spans)
        self._handler = InstancesHandler(open_identity, traces, self._count)

    def _count(self, outcome: str, _checks: str) -> None:
        self.counts[outcome] += 1

    @property
    def commands(self) -> CommandsHandler:
        """In this world the ciphertext says what is sealed."""
        return CommandsHandler(
            lambda sealed, _: SealedPerson(issuer="NHS", patient_id=sealed.ciphertext),
            lambda sealed, _: Number(nhs_number=sealed.ciphertext),
        )

    async def handle(self, *events: Event[Any]) -> list[Event[Any]]:
        """One batch; gives back what it published."""
        async with self.database.unit() as unit:
            await self._handler(messages(list(events), "instances.bulk"), unit)
        return await self._published()

    async def obey(self, event: Event[Any]) -> None:
        """What a person says of an identity."""
        async with self.database.unit() as unit:
            await self.commands(messages([event], "commands"), unit)

    async def command(self, command: str, entry: UUID) -> list[Event[Any]]:
        """A person's decision on an entry."""
        event = QuarantineCommanded.of(
            id=uuid4(),
            subject=str(entry),
            data=QuarantineCommandedData(
                source="RQM",
                study_uid="1.2.3",
                command=command,
                quarantine=entry,
                reason="checked with the ward",
                actor="account-1",
                actor_institution="RQM",
            ),
        )
        async with self.database.unit() as unit:
            await self.commands(messages([event], "commands"), unit)
        return await self._published()

    async def _published(self) -> list[Event[Any]]:
        async with self.database.engine.begin() as connection:
            rows = await connection.execute(select(common.outbox.c.value).order_by(common.outbox.c.seq))
            found = [decode(value) for value in rows.scalars()]
            await connection.execute(common.outbox.delete())
        return found

    async def rows(self, table: Any) -> list[Any]:
        async with self.database.engine.connect() as connection:
            return list(await connection.execute(select(table)))


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


WRONG_NUMBER = JANE.model_copy(update={"patient_id": "9990000019"})


async def test_a_study_flows_in_order_and_its_association_ends_with_counts(world: World) -> None:
    published = await world.handle(
        received(number=1),
        received(number=2, identity=WRONG_NUMBER),
        received(number=3),
        ended(count=3),
    )
    kinds = [type(event) for event in published if not isinstance(event, AuditRecorded)]
    assert kinds == [InstanceValidated, InstanceQuarantined, InstanceValidated, AssociationValidated]
    last = published[-1].data
    assert (last.received, last.accepted, last.quarantined, last.duplicated) == (3, 2, 1, 0)
    assert world.counts == {"accepted": 2, "held": 1}


async def test_what_ingest_found_travels_on_with_the_seal_unbroken(world: World) -> None:
    event = received()
    (validated,) = await world.handle(event)
    assert validated.data.object_key == event.data.object_key
    assert validated.data.digest == event.data.digest
    assert open_identity(validated.data.identity, validated.data.object_key) == JANE


async def test_the_same_bytes_again_are_a_repeat_within_and_across_batches(world: World) -> None:
    first = received()
    published = await world.handle(first, received())
    assert [type(event) for event in published] == [InstanceValidated, InstanceDuplicated]
    (again,) = await world.handle(received())
    assert isinstance(again, InstanceDuplicated)
    assert again.data.original == first.id


async def test_of_two_copies_in_conflict_a_person_chooses_which_one_stands(world: World) -> None:
    first = received()
    await world.handle(first)
    one, two = received(digest="sha256:" + "ff" * 32), received(digest="sha256:" + "ee" * 32)
    published = await world.handle(one, two)
    held = [event for event in published if isinstance(event, InstanceQuarantined)]
    assert "same institution" in held[0].data.reason
    assert [event.data.disputes for event in held] == [first.id, first.id]
    chosen = await world.command("release", held[1].data.quarantine)
    kinds = [type(event) for event in chosen if not isinstance(event, AuditRecorded)]
    assert kinds == [InstanceDiscarded, InstanceValidated]
    (stands,) = [event for event in chosen if isinstance(event, InstanceValidated)]
    assert stands.data.replaces == first.id
    assert stands.data.digest == two.data.digest
    assert {entry.state for entry in await world.rows(quarantine)} == {"released", "discarded"}
    (again,) = await world.handle(received(digest=two.data.digest))
    assert isinstance(again, InstanceDuplicated)


async def test_of_two_copies_in_conflict_the_first_stands_where_the_other_is_discarded(world: World) -> None:
    first = received()
    await world.handle(first)
    published = await world.handle(received(digest="sha256:" + "ff" * 32))
    (held,) = [event for event in published if isinstance(event, InstanceQuarantined)]
    discarded, _ = await world.command("discard", held.data.quarantine)
    assert isinstance(discarded, InstanceDiscarded)
    assert [row.event_id for row in await world.rows(instances)] == [first.id]


async def test_demographics_that_disagree_within_a_batch_are_caught(world: World) -> None:
    other = JANE.model_copy(update={"patient_name": "ROE^RICHARD"})
    published = await world.handle(received(number=1), received(number=2, identity=other))
    assert [type(event) for event in published if not isinstance(event, AuditRecorded)] == [
        InstanceValidated,
        InstanceQuarantined,
    ]


async def test_another_person_under_a_known_nhs_number_is_caught_in_another_study(world: World) -> None:
    await world.handle(received(study="1.2.3"))
    other = JANE.model_copy(update={"patient_name": "ROE^RICHARD", "birth_date": "19801231"})
    published = await world.handle(received(study="1.2.4", identity=other))
    (held,) = [event for event in published if isinstance(event, InstanceQuarantined)]
    assert "known under this identifier" in held.data.reason
    assert len(await world.rows(studies)) == 1


async def test_a_released_instance_goes_on_and_says_who_let_it(world: World) -> None:
    published = await world.handle(received(identity=WRONG_NUMBER))
    (held,) = [event for event in published if isinstance(event, InstanceQuarantined)]
    released, audited = await world.command("release", held.data.quarantine)
    assert isinstance(released, InstanceValidated)
    assert released.data.released
    assert released.data.quarantine == held.data.quarantine
    assert [warning.check for warning in released.data.warnings] == ["nhs-number"]
    assert audited.data.actor.id == "account-1"
    assert audited.data.action == "instance_released"
    assert await world.command("discard", held.data.quarantine) == []
    (again,) = await world.handle(received(identity=WRONG_NUMBER))
    assert isinstance(again, InstanceDuplicated)


async def test_a_discarded_instance_is_announced_with_its_reason(world: World) -> None:
    published = await world.handle(received(problem="it ends within an element"))
    (held,) = [event for event in published if isinstance(event, InstanceQuarantined)]
    discarded, _ = await world.command("discard", held.data.quarantine)
    assert isinstance(discarded, InstanceDiscarded)
    assert discarded.data.reason == "checked with the ward"
    (entry,) = await world.rows(quarantine)
    assert (entry.state, entry.decided_by) == ("discarded", "account-1")


async def test_each_study_of_a_batch_has_a_span_in_its_own_trace_and_later_services_continue_it(
    world: World,
) -> None:
    published = await world.handle(received(study="1.2.3"), received(study="1.2.4", number=2))
    spans = {span.context.trace_id: span for span in world.spans.get_finished_spans() if span.context}
    assert set(spans) == {trace_id("RQM", "1.2.3"), trace_id("RQM", "1.2.4")}
    for event in published:
        context = spans[trace_id("RQM", event.data.study_uid)].context
        assert context is not None
        assert event.traceparent == f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


async def test_nothing_identifying_is_in_the_quarantine_tables_open_columns(world: World) -> None:
    await world.handle(received(identity=WRONG_NUMBER))
    (entry,) = await world.rows(quarantine)
    open_columns = repr((entry.reason, entry.evidence, entry.event))
    assert "DOE" not in open_columns
    assert "9990000019" not in open_columns


UNKNOWN_MAN = JANE.model_copy(
    update={"patient_id": "T0001", "issuer": "RQM", "patient_name": "UNKNOWN^MALE", "birth_date": ""}
)


async def test_two_unknown_people_under_one_temporary_identifier_are_not_merged(world: World) -> None:
    other = UNKNOWN_MAN.model_copy(update={"patient_name": "UNKNOWN^FEMALE", "sex": "F"})
    published = await world.handle(
        received(number=1, identity=UNKNOWN_MAN), received(number=2, identity=other, study="1.2.4")
    )
    assert [type(event) for event in published] == [InstanceValidated, InstanceValidated]
    assert {finding.check for event in published for finding in event.data.warnings} >= {"temporary-identity"}
    assert await world.rows(persons) == []


async def test_a_linked_study_is_a_known_persons_from_then_on(world: World) -> None:
    await world.handle(received(number=1, identity=UNKNOWN_MAN))
    person = Sealed(key_id="k", nonce="", ciphertext=JANE.patient_id)
    link = LinkCommandedData(
        source="RQM", study_uid="1.2.3", link=uuid4(), person=person, reason="wrist band", actor="anna"
    )
    command = LinkCommanded.of(id=uuid4(), subject="RQM/1.2.3", data=link)
    await world.obey(command)
    await world.obey(command)
    [kept] = await world.rows(links)
    assert (kept.temporary_id, kept.issuer, kept.patient_id) == ("T0001", "NHS", JANE.patient_id)
    [study] = await world.rows(studies)
    assert (study.temporary, study.patient_id, study.patient_name) == (False, JANE.patient_id, "")
    # more of the study comes under either identity; of somebody else's it is caught
    someone = JANE.model_copy(update={"patient_id": "9990000026"})
    published = await world.handle(
        received(number=2, identity=UNKNOWN_MAN),
        received(number=3, identity=JANE),
        received(number=4, identity=someone),
    )
    kinds = [type(event) for event in published if not isinstance(event, AuditRecorded)]
    assert kinds == [InstanceValidated, InstanceValidated, InstanceQuarantined]


async def test_a_number_that_was_superseded_is_told(world: World) -> None:
    number = "9434765919"
    data = NumberCommandedData(
        number=uuid4(),
        traced=Sealed(key_id="k", nonce="", ciphertext="943 476 5919"),
        tracing="superseded",
        actor="admin",
    )
    await world.obey(NumberCommanded.of(id=uuid4(), subject="number", data=data))
    (validated,) = await world.handle(received(identity=JANE.model_copy(update={"patient_id": number})))
    assert "nhs-superseded" in {finding.check for finding in validated.data.warnings}
