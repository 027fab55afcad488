"""What routing has of a person: told, erased, put right."""
# ruff: noqa: S608  statements are made of constants of this file alone

from dataclasses import replace
from typing import Any

from sqlalchemy import func, select, text

from imex.db import UnitOfWork
from imex.db.subjects import Finding, answer, parked
from imex.db.tables.routing import common, marks, subject_findings
from imex.events.commands import SubjectCommanded
from imex.events.sealed import Sealed, seal_context
from imex.routing import publish
from imex.routing.marks import OpenPerson
from imex.routing.publish import Cause
from imex.routing.requested_subjects import requests_of
from imex.routing.retiring import retention_ended
from imex.routing.sitting import locked
from imex.routing.states import SETTLED_STATES, Fact
from imex.routing.surroundings import Surroundings
from imex.routing.wanted import OpenWanted
from imex.sharing.model import StudyKey
from imex.sharing.persons import Person, person

_OF_STUDIES = (
    " FROM unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, study_uid)"
    " WHERE t.source = k.source AND t.study_uid = k.study_uid"
)
_BLANK_STUDIES = text(
    "UPDATE routing.studies t SET patient_id = '', issuer = '', patient_name = '', birth_date = '',"
    " accession = '', study_date = '', study_description = '', series_descriptions = '{}'" + _OF_STUDIES
)
_PLACES = {
    "routing.series": ("t.description <> ''", "description = ''"),
    "routing.decisions": ("t.personal IS NOT NULL", "personal = NULL"),
    "routing.corrections": ("t.personal IS NOT NULL", "personal = NULL"),
}
_ERASED = "erased, as the person it is of asked"


async def obey(
    unit: UnitOfWork,
    command: SubjectCommanded,
    around: Surroundings,
    open_person: OpenPerson,
    open_wanted: OpenWanted,
) -> None:
    """Do what the command says, and answer with counts."""
    asked = command.data
    whose = _person(asked.person, asked.subject, open_person)
    gone = [(one.source, one.study_uid) for one in asked.studies if not one.kept]
    kept = [one for one in asked.studies if one.kept]
    why = "; ".join(sorted({one.kept for one in kept}))
    erase = asked.command == "erase"
    found = [Finding("routing.studies", len(asked.studies), len(gone) if erase else 0, why if erase else "")]
    every = _pairs([(one.source, one.study_uid) for one in asked.studies])
    for place, (where, values) in _PLACES.items():
        count = f"SELECT count(*) FROM {place} t WHERE {where} AND EXISTS (SELECT 1{_OF_STUDIES})"
        number = int(await unit.connection.scalar(text(count), every) or 0)
        done = 0
        if erase and number:
            change = f"UPDATE {place} t SET {values}{_OF_STUDIES} AND {where}"
            done = (await unit.connection.execute(text(change), _pairs(gone))).rowcount
        found.append(Finding(place, number, done, why if erase else ""))
    if whose is not None:
        own = (marks.c.issuer == whose.issuer, marks.c.patient_id == whose.patient_id)
        number = int(await unit.connection.scalar(select(func.count()).where(*own)) or 0)
        words = "what the person has asked for goes on holding: take it away with `imex marks`"
        found.append(Finding("routing.marks", number, 0, words))
    everything = [(one.source, one.study_uid) for one in asked.studies]
    found.append(await requests_of(unit, whose, everything, open_wanted, around, erase=erase))
    keys = [f"{source}/{uid}" for source, uid in gone]
    found.append(await parked(unit.connection, common, keys, erase=erase))
    if erase:
        await _erase(unit, command, gone, around)
    if asked.command == "rectify" and asked.right is not None:
        found[0] = Finding("routing.studies", len(asked.studies), len(asked.studies))
        await _rectify(unit, asked.right, asked.subject, every, open_person)
    await answer(unit.connection, subject_findings, asked.subject, found)


def _person(sealed: Sealed, subject: object, open_person: OpenPerson) -> Person | None:
    named = open_person(sealed, seal_context("subject", subject))
    return person("", named.issuer, named.patient_id)


async def _erase(
    unit: UnitOfWork, command: SubjectCommanded, gone: list[StudyKey], around: Surroundings
) -> None:
    """Nothing more of it leaves, nobody is named any more, and validation hears that nobody needs it."""
    at = around.clock()
    who = publish.person(command.data.actor, command.data.actor_institution)
    cause = Cause(command.id, at, who)
    async with locked(unit, around, gone) as now:
        for key, study in now.studies.items():
            for share in now.docket.of(study):
                if share.state not in SETTLED_STATES:
                    now.docket.move(share, Fact.TAKEN_BACK, cause, reason=_ERASED)
                now.docket.note(share, "erased", cause, reason=_ERASED)
            if study.disposed_at is None:
                retired = replace(study, retiring_at=at, due_at=None, settled_at=study.settled_at or at)
                now.studies[key] = retired
                unit.publish(retention_ended(retired, at))
    await unit.connection.execute(_BLANK_STUDIES, _pairs(gone))


async def _rectify(
    unit: UnitOfWork, right: Sealed, subject: object, studies: dict[str, list[str]], open_person: OpenPerson
) -> None:
    said = open_person(right, seal_context("subject-right", subject))
    columns = {"patient_id", "issuer", "patient_name", "birth_date"}
    values = {name: value for name, value in said.model_dump().items() if value and name in columns}
    if not values:
        return
    sets = ", ".join(f"{name} = :{name}" for name in values)
    names: dict[str, Any] = {**studies, **values}
    await unit.connection.execute(text(f"UPDATE routing.studies t SET {sets}{_OF_STUDIES}"), names)


def _pairs(keys: list[StudyKey]) -> dict[str, list[str]]:
    return {"sources": [key[0] for key in keys], "uids": [key[1] for key in keys]}
