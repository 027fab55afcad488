"""What a person may ask of the network: every schema tells, erases and puts right, on PostgreSQL."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.schema import CreateSchema
from tests.integration.routing_world import AGREED, HOSPITALS, NHS_NUMBER, TO_B, Sending, World, routing_world

from imex.audit.subjects import obey as audit_obeys
from imex.audit_trail.chain import GENESIS
from imex.db import UnitOfWork
from imex.db.tables import audit, delivery, routing, validation
from imex.delivery.subjects import obey as delivery_obeys
from imex.events.commands import SubjectCommanded, SubjectCommandedData
from imex.events.retention import RetentionEnded
from imex.events.sealed import Sealed, SealedPerson, SealedWanted, seal_context
from imex.portal.queries import subjects
from imex.routing.subjects import obey as routing_obeys
from imex.sealing import Sealer
from imex.sharing.persons import Person
from imex.validation.decisions import settle
from imex.validation.repository import Repository
from imex.validation.subjects import obey as validation_obeys

SEALER = Sealer({"k": b"x" * 32}, "k")
WHO = Person("NHS", NHS_NUMBER)
AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
STUDY, OTHER = ("RQM", "1.2.3"), ("RQM", "9.9")


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        sending = Sending(made)
        await made.validated(*sending.accepted(1, 2), sending.over(2))
        await made.quiet()
        await made.confirm_all()
        stranger = Sending(made, study_uid="9.9")
        sealed = Sealed(key_id="k", nonce="", ciphertext="OTHER1")
        await made.validated(*stranger.accepted(1, identity=sealed), stranger.over(1))
        async with made.database.engine.begin() as connection:
            for schema in (validation, delivery, audit):
                await connection.execute(CreateSchema(schema.SCHEMA))
                await connection.run_sync(schema.metadata.create_all)
        async with made.database.unit() as unit:
            await seed(unit)
        yield made


async def seed(unit: UnitOfWork) -> None:
    """What the other services know of the person, and of somebody else."""
    run = unit.connection.execute
    for (source, study_uid), number in ((STUDY, NHS_NUMBER), (OTHER, "OTHER1")):
        of = {"source": source, "study_uid": study_uid}
        demographics = {"patient_name": "DOE^A", "birth_date": "19700101", "sex": "F"}
        issuer = "NHS" if number == NHS_NUMBER else "RQM"
        await run(insert(validation.studies).values(**of, issuer=issuer, patient_id=number, **demographics))
        await run(insert(validation.persons).values(issuer=issuer, patient_id=number, **demographics))
        key = f"{source}/2026-03-02/{uuid4()}"
        await run(
            insert(validation.judgements).values(
                **of,
                event_id=uuid4(),
                sop_instance_uid=f"{study_uid}.1.1",
                digest="sha256:0",
                object_key=key,
                association=uuid4(),
                judgement="accepted",
                received_at=AT,
            )
        )
        await run(
            insert(delivery.releases).values(
                project="p",
                recipient="RT3",
                **of,
                given_study_uid=f"2.25.{number[-1]}",
                pseudonym=number,
                sealed={"a": 1},
            )
        )
        await run(
            insert(delivery.pseudonyms).values(project="p", source=source, pseudonym=number, sealed={"a": 1})
        )
        await run(
            insert(delivery.identifiers).values(
                id=uuid4(),
                recipient="RT3",
                kind="patient",
                source=source,
                issuer=issuer,
                value=number,
                own=f"B{number}",
                actor="x",
            )
        )
        event = uuid4()
        await run(
            insert(audit.records).values(
                partition=0,
                sequence=1 if number == NHS_NUMBER else 2,
                event_id=event,
                at=AT,
                action="share_viewed",
                institutions=["RQM"],
                study_uid=study_uid,
                body="{}",
                previous=GENESIS,
                hash=GENESIS,
            )
        )
        for field in ("user", "patient"):
            await run(insert(audit.personal).values(event_id=event, field=field, salt=b"s", value="somebody"))
    await run(insert(validation.traced).values(nhs_number=NHS_NUMBER, status="traced", set_by="x", at=AT))


def command(
    name: Any, standing: subjects.Standing, right: SealedPerson | None = None, who: Person = WHO
) -> SubjectCommanded:
    subject = uuid4()
    sealed = SEALER.seal(SealedPerson(**who._asdict()), seal_context("subject", subject))
    return SubjectCommanded.of(
        id=subject,
        subject="x",
        data=SubjectCommandedData(
            command=name,
            subject=subject,
            person=sealed,
            right=SEALER.seal(right, seal_context("subject-right", subject)) if right else None,
            studies=tuple(standing.studies),
            actor="admin",
        ),
    )


async def obeyed(world: World, asked: SubjectCommanded) -> dict[str, dict[str, Any]]:
    """Every service does it; what they answered, by place."""

    def opened(sealed: Sealed, context: bytes) -> SealedPerson:
        return SEALER.open_as(SealedPerson, sealed, context)

    def opened_wanted(sealed: Sealed, context: bytes) -> SealedWanted:
        return SEALER.open_as(SealedWanted, sealed, context)

    async with world.database.unit() as unit:
        await routing_obeys(unit, asked, world.around, opened, opened_wanted)
        discard = partial(settle, repository=Repository(unit.connection), unit=unit)
        await validation_obeys(unit, asked, opened, discard)
        await delivery_obeys(unit, asked, SEALER)
        await audit_obeys(unit, asked)
    await world._collect()
    found: dict[str, dict[str, Any]] = {}
    async with world.database.engine.connect() as connection:
        for table in subjects.FINDINGS.values():
            mine = table.c.command == asked.data.subject
            rows = (await connection.execute(select(table.c.findings).where(mine))).scalar_one()
            found |= {one["place"]: one for one in rows}
    return found


async def standing(world: World) -> subjects.Standing:
    async with world.database.engine.connect() as connection:
        return await subjects.standing(connection, WHO)


async def test_everything_is_found_and_nothing_is_changed_by_a_report(world: World) -> None:
    now = await standing(world)
    assert [(one.source, one.study_uid, one.kept) for one in now.studies] == [(*STUDY, "")]
    found = await obeyed(world, command("report", now))
    counted = {place: one["found"] for place, one in found.items()}
    assert (
        counted.items()
        >= {
            "routing.studies": 1,
            "the object store": 1,
            "validation.studies": 1,
            "validation.persons": 1,
            "validation.traced": 1,
            "delivery.identifiers": 1,
            "delivery.pseudonyms": 1,
            "delivery.releases": 1,
            "audit.personal": 1,
            "audit.personal (of those who acted)": 1,
        }.items()
    )
    assert all(one["done"] == 0 for one in found.values())
    assert NHS_NUMBER not in json.dumps(found)
    assert (await standing(world)).studies == now.studies


async def test_an_erasure_leaves_nobody_and_nobody_else_is_touched(world: World) -> None:
    found = await obeyed(world, command("erase", await standing(world)))
    assert {place for place, one in found.items() if one["kept"]} == {
        "audit.personal (of those who acted)",
        "audit.records",
    }
    assert (await standing(world)).studies == []
    studies = {row.study_uid: row for row in await world.rows(routing.studies)}
    assert (studies["1.2.3"].patient_id, studies["1.2.3"].accession) == ("", "")
    assert studies["9.9"].patient_id == "OTHER1"
    assert [row.patient_id for row in await world.rows(validation.persons)] == ["OTHER1"]
    assert [row.value for row in await world.rows(delivery.identifiers)] == ["OTHER1"]
    assert [row.pseudonym for row in await world.rows(delivery.pseudonyms)] == ["OTHER1"]
    assert len(await world.rows(validation.disposals)) == 1
    erased = [row.field for row in await world.rows(audit.personal) if row.value is None]
    assert erased == ["patient"]
    (ended,) = world.said(RetentionEnded)
    assert ended.data.study_uid == "1.2.3"
    personal = {row.study_uid: row.personal for row in await world.rows(routing.decisions)}
    assert personal["1.2.3"] is None
    assert personal["9.9"] is not None


async def test_who_acted_is_erased_by_name_and_the_records_stay(world: World) -> None:
    async with world.database.engine.connect() as connection:
        facts = await subjects.acted(connection, "somebody", 10)
    asked = command("erase", subjects.Standing(studies=[], under_way=0))
    data = asked.data.model_copy(update={"facts": tuple(facts)})
    found = await obeyed(world, asked.model_copy(update={"data": data}))
    assert found["audit.personal (of this account)"]["done"] == 2
    rows = await world.rows(audit.personal)
    assert {(row.field, row.value) for row in rows} == {("user", None), ("patient", "somebody")}
    assert len(await world.rows(audit.records)) == 2


async def test_what_is_held_stays_and_it_is_said_why(world: World) -> None:
    async with world.database.engine.begin() as connection:
        hold = {"source": "RQM", "study_uid": "1.2.3", "reason": "x", "placed_by": "x", "at": world.clock.now}
        await connection.execute(insert(routing.holds).values(hold))
    now = await standing(world)
    found = await obeyed(world, command("erase", now))
    assert all(one["done"] == 0 for one in found.values())
    assert found["routing.studies"]["why"] == "legal hold"
    assert (await standing(world)).studies == now.studies
    assert not world.said(RetentionEnded)


async def test_what_is_under_way_is_counted_and_revoked_by_an_erasure(world: World) -> None:
    await world.commanded(world.command("create", recipient="RW6"))
    now = await standing(world)
    assert now.under_way == 1
    await obeyed(world, command("erase", now))
    assert {(one.recipient, one.state) for one in await world.shares() if one.study_uid == "1.2.3"} == {
        ("RT3", "delivered"),
        ("RW6", "revoked"),
    }


async def test_what_is_wrong_is_put_right(world: World) -> None:
    right = SealedPerson(issuer="", patient_id="", patient_name="ROE^ANNA", birth_date="19710203")
    found = await obeyed(world, command("rectify", await standing(world), right))
    assert "send them anew" in found["the object store"]["why"]
    studies = {row.study_uid: row for row in await world.rows(routing.studies)}
    assert (studies["1.2.3"].patient_name, studies["1.2.3"].patient_id) == ("ROE^ANNA", NHS_NUMBER)
    persons = {row.patient_id: row.patient_name for row in await world.rows(validation.persons)}
    assert persons == {NHS_NUMBER: "ROE^ANNA", "OTHER1": "DOE^A"}
    (mapped,) = [row for row in await world.rows(delivery.identifiers) if row.value == NHS_NUMBER]
    assert (mapped.name, mapped.birth_date) == ("ROE^ANNA", "19710203")


async def test_identifiers_of_a_hospitals_own_are_found_under_its_code(world: World) -> None:
    async with world.database.engine.begin() as connection:
        i = delivery.identifiers
        await connection.execute(update(i).where(i.c.value == "OTHER1").values(issuer=""))
    async with world.database.engine.connect() as connection:
        now = await subjects.standing(connection, Person("RQM", "OTHER1"))
    asked = command("erase", now, who=Person("RQM", "OTHER1"))
    found = await obeyed(world, asked)
    assert found["delivery.identifiers"]["done"] == 1
    assert [row.value for row in await world.rows(delivery.identifiers)] == [NHS_NUMBER]
    assert [row.patient_id for row in await world.rows(validation.persons)] == [NHS_NUMBER]
