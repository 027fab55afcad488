"""Legal hold: a study's payloads stay until somebody says that they need not."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.routing import holds
from imex.events.commands import HoldCommanded
from imex.routing import publish
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.surroundings import Surroundings
from imex.sharing.model import StudyKey


async def obey(unit: UnitOfWork, commands: Sequence[HoldCommanded], around: Surroundings) -> None:
    """Place and lift holds, in the order of the commands; the timelines of all shares tell of it."""
    repository = Repository(unit.connection)
    known = await repository.lock_studies({(one.data.source, one.data.study_uid) for one in commands})
    docket = Docket(unit, repository, await repository.shares_of(known), around.moved)
    now = around.clock()
    results = []
    for command in commands:
        asked = command.data
        key = (asked.source, asked.study_uid)
        study = known.get(key)
        outcome, message = "done", ""
        if study is None:
            outcome, message = "rejected", f"{asked.source} has sent no study with this UID"
        elif asked.actor_institution is not None and await _is_the_administrations(unit, key):
            outcome, message = "rejected", "the network's administration holds it: ask them to lift it"
        elif asked.command == "place" and (study.retiring_at or study.disposed_at):
            outcome, message = "rejected", "its images are deleted already"
        else:
            whose = publish.person(asked.actor, asked.actor_institution)
            cause = Cause(command.id, now, whose)
            if asked.command == "place":
                values = {
                    "reason": asked.reason,
                    "placed_by": asked.actor,
                    "institution": asked.actor_institution,
                    "at": now,
                }
                new = insert(holds).values(source=asked.source, study_uid=asked.study_uid, **values)
                await unit.connection.execute(
                    new.on_conflict_do_update(index_elements=["source", "study_uid"], set_=values)
                )
                words = "under legal hold"
            else:
                await unit.connection.execute(
                    delete(holds).where(holds.c.source == asked.source, holds.c.study_uid == asked.study_uid)
                )
                known[key] = replace(study, hold_lifted_at=now, retention_at=None)
                words = "nothing holds it any more"
            for share in docket.of(study):
                docket.note(share, f"hold_{_DONE[asked.command]}", cause, reason=f"{words}: {asked.reason}")
        results.append(
            {
                "command_id": command.id,
                "recipient": asked.source,
                "share": None,
                "outcome": outcome,
                "message": message,
            }
        )
    await repository.save_studies(list(known.values()))
    await docket.write()
    await repository.add_command_results(results)


async def _is_the_administrations(unit: UnitOfWork, key: StudyKey) -> bool:
    h = holds.c
    found = await unit.connection.execute(
        select(h.institution).where(h.source == key[0], h.study_uid == key[1])
    )
    row = found.one_or_none()
    return row is not None and row.institution is None


_DONE = {"place": "placed", "lift": "lifted"}
