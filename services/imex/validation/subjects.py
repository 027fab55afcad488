"""What validation has of a person, payloads among it: told, erased, put right."""
# ruff: noqa: S608  statements are made of constants of this file alone

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import text

from imex.db import UnitOfWork
from imex.db.subjects import Finding, answer, parked
from imex.db.tables.validation import common, subject_findings
from imex.dicom import compact, is_nhs_issuer, qualified
from imex.events.commands import QuarantineCommanded, QuarantineCommandedData, SubjectCommanded
from imex.events.ids import derived
from imex.events.sealed import Sealed, SealedPerson, seal_context
from imex.validation.giving_up import forget, give_up

OpenPerson = Callable[[Sealed, bytes], SealedPerson]

_KEYS: Final = "unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, study_uid)"
_MINE: Final = "t.source = k.source AND t.study_uid = k.study_uid"
_PAYLOADS = f"SELECT count(*) FROM validation.judgements t, {_KEYS} WHERE {_MINE} AND t.disposed_at IS NULL"
_OTHER_OBJECTS = text(
    "INSERT INTO validation.disposals (object_key) SELECT * FROM unnest(CAST(:objects AS text[]))"
    " ON CONFLICT DO NOTHING"
)
_WAITING = text(
    f"SELECT t.id, t.source, t.study_uid FROM validation.quarantine t, {_KEYS}"
    f" WHERE {_MINE} AND t.state = 'waiting' ORDER BY t.id"
)
_SEALED = f"FROM validation.quarantine t, {_KEYS} WHERE {_MINE} AND t.event <> ''"
_UNSEAL = text(
    f"UPDATE validation.quarantine t SET event = '', releasable = false FROM {_KEYS}"
    f" WHERE {_MINE} AND t.event <> '' AND t.state <> 'waiting'"
)
_PERSON: Final = "issuer = :issuer AND patient_id = :patient_id"
_ELSEWHERE = "studies of this person are kept, and are compared with it"

Discard = Callable[[QuarantineCommanded], Any]
"""Decides on an entry of the quarantine as if a person had discarded it; to be awaited."""


async def obey(
    unit: UnitOfWork, command: SubjectCommanded, open_person: OpenPerson, discard: Discard
) -> None:
    """Do what the command says, and answer with counts."""
    asked = command.data
    named = open_person(asked.person, seal_context("subject", asked.subject))
    issuer, patient_id = qualified(named.issuer, named.patient_id, "")
    who = {"issuer": issuer, "patient_id": patient_id}
    number = compact(named.patient_id) if is_nhs_issuer(named.issuer) else ""
    every = _pairs([(one.source, one.study_uid) for one in asked.studies])
    gone = _pairs([(one.source, one.study_uid) for one in asked.studies if not one.kept])
    kept = "; ".join(sorted({one.kept for one in asked.studies if one.kept}))
    erase = asked.command == "erase"
    found = [await _counted(unit, "the object store", _PAYLOADS, every)]
    for table in ("studies", "links"):
        count = f"SELECT count(*) FROM validation.{table} t, {_KEYS} WHERE {_MINE}"
        found.append(await _counted(unit, f"validation.{table}", count, every))
    found.append(await _counted(unit, "validation.quarantine", f"SELECT count(*) {_SEALED}", every))
    persons = f"SELECT count(*) FROM validation.persons WHERE {_PERSON}"
    found.append(await _counted(unit, "validation.persons", persons, who))
    others = f"SELECT count(*) FROM validation.links t WHERE t.{_PERSON.replace('AND ', 'AND t.')}"
    others += f" AND NOT EXISTS (SELECT 1 FROM {_KEYS} WHERE {_MINE})"
    found.append(await _counted(unit, "validation.links (other studies)", others, {**who, **every}))
    traced = "SELECT count(*) FROM validation.traced WHERE :number IN (nhs_number, superseded_by)"
    found.append(await _counted(unit, "validation.traced", traced, {"number": number}))
    keys = [f"{s}/{u}" for s, u in zip(gone["sources"], gone["uids"], strict=True)]
    if erase:
        done = await _erase(unit, command, gone, who, number, discard, everything=not kept)
        found = [Finding(one.place, one.found, done.get(one.place, 0), kept or _ELSEWHERE) for one in found]
    elif asked.command == "rectify" and asked.right is not None:
        right = open_person(asked.right, seal_context("subject-right", asked.subject))
        found = await _rectify(unit, found, every, who, right)
    found.append(await parked(unit.connection, common, keys, erase=erase))
    await answer(unit.connection, subject_findings, asked.subject, found)


async def _counted(unit: UnitOfWork, place: str, statement: str, names: dict[str, Any]) -> Finding:
    return Finding(place, int(await unit.connection.scalar(text(statement), names) or 0))


async def _erase(  # noqa: PLR0917  whose, and what
    unit: UnitOfWork,
    command: SubjectCommanded,
    gone: dict[str, list[str]],
    who: dict[str, str],
    number: str,
    discard: Discard,
    *,
    everything: bool,
) -> dict[str, int]:
    """How many rows of each place went. Payloads go by the table of disposals, as on schedule."""
    run = unit.connection.execute
    for entry in (await run(_WAITING, gone)).all():
        await discard(_discarding(command, entry))
    done = {"the object store": await give_up(unit.connection, gone)}
    await forget(unit.connection, gone)
    if command.data.objects:
        await run(_OTHER_OBJECTS, {"objects": list(command.data.objects)})
    done["validation.quarantine"] = (await run(_UNSEAL, gone)).rowcount
    for table in ("studies", "links"):
        statement = f"DELETE FROM validation.{table} t USING {_KEYS} WHERE {_MINE}"
        done[f"validation.{table}"] = (await run(text(statement), gone)).rowcount
    if everything:
        # nothing is compared with this person any more
        persons = text(f"DELETE FROM validation.persons WHERE {_PERSON}")
        done["validation.persons"] = (await run(persons, who)).rowcount
        links = text(f"DELETE FROM validation.links WHERE {_PERSON}")
        done["validation.links (other studies)"] = (await run(links, who)).rowcount
        traced = text("DELETE FROM validation.traced WHERE :number IN (nhs_number, superseded_by)")
        done["validation.traced"] = (await run(traced, {"number": number})).rowcount
    return done


def _discarding(command: SubjectCommanded, entry: Any) -> QuarantineCommanded:
    return QuarantineCommanded.of(
        id=derived("erased", str(command.id), str(entry.id)),
        subject=str(entry.id),
        data=QuarantineCommandedData(
            source=entry.source,
            study_uid=entry.study_uid,
            command="discard",
            quarantine=entry.id,
            reason="erased, as the person it is of asked",
            actor=command.data.actor,
            actor_institution=command.data.actor_institution,
        ),
    )


async def _rectify(
    unit: UnitOfWork,
    found: list[Finding],
    every: dict[str, list[str]],
    who: dict[str, str],
    right: SealedPerson,
) -> list[Finding]:
    """What later instances are compared with. The images keep what their sender wrote."""
    said = {name: value for name, value in right.model_dump().items() if value}
    done: dict[str, int] = {}
    if said:
        sets = ", ".join(f"{name} = :new_{name}" for name in said)
        new = {f"new_{name}": value for name, value in said.items()}
        statement = f"UPDATE validation.studies t SET {sets} FROM {_KEYS} WHERE {_MINE}"
        changed = await unit.connection.execute(text(statement), {**every, **new})
        done["validation.studies"] = changed.rowcount
        facts = [name for name in said if name not in {"issuer", "patient_id"}]
        if facts:
            sets = ", ".join(f"{name} = :new_{name}" for name in facts)
            statement = f"UPDATE validation.persons SET {sets} WHERE {_PERSON}"
            names = {**who, **{f"new_{name}": said[name] for name in facts}}
            changed = await unit.connection.execute(text(statement), names)
            done["validation.persons"] = changed.rowcount
    words = {"the object store": "images keep what their sender wrote: recall them, and send them anew"}
    return [Finding(one.place, one.found, done.get(one.place, 0), words.get(one.place, "")) for one in found]


def _pairs(keys: list[tuple[str, str]]) -> dict[str, list[str]]:
    return {"sources": [key[0] for key in keys], "uids": [key[1] for key in keys]}
