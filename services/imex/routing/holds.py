"""Legal hold: a study's payloads stay until somebody says that they need not."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.routing import holds
from imex.events.commands import HoldCommanded
from imex.routing import command_results, publish
from imex.routing.command_results import Result
from imex.routing.publish import Cause
from imex.routing.sitting import Locked, locked
from imex.routing.surroundings import Surroundings
from imex.sharing.model import StudyKey


async def obey(unit: UnitOfWork, commands: Sequence[HoldCommanded], around: Surroundings) -> None:
    """Place and lift holds, in the order of the commands; the timelines of all shares tell of it."""
    async with locked(unit, around, {(one.data.source, one.data.study_uid) for one in commands}) as now:
        results = [
            (command.id, command.data.source, await _obey(unit, now, command, around.clock()))
            for command in commands
        ]
    await command_results.tell(unit.connection, results)


async def _obey(unit: UnitOfWork, now: Locked, command: HoldCommanded, at: datetime) -> Result:
    asked = command.data
    key = (asked.source, asked.study_uid)
    study = now.studies.get(key)
    if study is None:
        return Result("rejected", f"{asked.source} has sent no study with this UID")
    if asked.actor_institution is not None and await _is_the_administrations(unit, key):
        return Result("rejected", "the network's administration holds it: ask them to lift it")
    if asked.command == "place" and (study.retiring_at or study.disposed_at):
        return Result("rejected", "its images are deleted already")
    if asked.command == "place":
        values = {
            "reason": asked.reason,
            "placed_by": asked.actor,
            "institution": asked.actor_institution,
            "at": at,
        }
        new = insert(holds).values(source=asked.source, study_uid=asked.study_uid, **values)
        await unit.connection.execute(
            new.on_conflict_do_update(index_elements=["source", "study_uid"], set_=values)
        )
        step, words = "hold_placed", "under legal hold"
    else:
        await unit.connection.execute(
            delete(holds).where(holds.c.source == asked.source, holds.c.study_uid == asked.study_uid)
        )
        now.studies[key] = replace(study, hold_lifted_at=at, retention_at=None)
        step, words = "hold_lifted", "nothing holds it any more"
    cause = Cause(command.id, at, publish.person(asked.actor, asked.actor_institution))
    for share in now.docket.of(study):
        now.docket.note(share, step, cause, reason=f"{words}: {asked.reason}")
    return Result("done")


async def _is_the_administrations(unit: UnitOfWork, key: StudyKey) -> bool:
    h = holds.c
    found = await unit.connection.execute(
        select(h.institution).where(h.source == key[0], h.study_uid == key[1])
    )
    row = found.one_or_none()
    return row is not None and row.institution is None
