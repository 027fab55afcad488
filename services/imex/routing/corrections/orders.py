"""What people ask of corrections: to open one, and to say that they have seen to it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update

from imex.db import UnitOfWork
from imex.db.tables.routing import corrected_shares
from imex.events.commands import CorrectionCommanded, CorrectionCommandedData
from imex.routing import command_results, publish
from imex.routing.command_results import Result
from imex.routing.corrections.opening import CannotCorrect, Correction, Opening
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.sitting import locked
from imex.routing.surroundings import Surroundings
from imex.sharing.model import Study


async def obey(unit: UnitOfWork, commands: Sequence[CorrectionCommanded], around: Surroundings) -> None:
    """Do what the commands say, in their order."""
    at = around.clock()
    results = []
    async with locked(unit, around, {(one.data.source, one.data.study_uid) for one in commands}) as now:
        opening = Opening(unit, now.repository, now.docket, around.index())
        for command in commands:
            asked = command.data
            key = (asked.source, asked.study_uid)
            cause = Cause(command.id, at, publish.person(asked.actor, asked.actor_institution))
            result = Result("done")
            try:
                if key not in now.studies:
                    raise CannotCorrect(f"{asked.source} has sent no study with this UID")
                if not _may(asked):
                    raise CannotCorrect(f"only {asked.source} can recall or correct its studies")
                if asked.command == "open":
                    now.studies[key] = await opening.open(now.studies[key], _correction(asked), cause)
                else:
                    await _acknowledge(unit, now.docket, now.studies[key], asked, cause)
            except CannotCorrect as error:
                result = Result("rejected", str(error))
            results.append((command.id, asked.recipient or asked.source, result))
        now.finish(at)
    await command_results.tell(unit.connection, results)


def _may(asked: CorrectionCommandedData) -> bool:
    whose = asked.source if asked.command == "open" else asked.recipient
    return asked.actor_institution in {None, whose}


def _correction(asked: CorrectionCommandedData) -> Correction:
    return Correction(
        id=asked.correction,
        kind=asked.correction_kind,
        actor=asked.actor,
        institution=asked.actor_institution,
        reason=asked.reason,
        code=asked.code,
        instances=frozenset(asked.instances),
        personal=asked.person.model_dump(mode="json") if asked.person else None,
    )


async def _acknowledge(
    unit: UnitOfWork, docket: Docket, study: Study, asked: CorrectionCommandedData, cause: Cause
) -> None:
    c = corrected_shares.c
    mine = [c.correction == asked.correction, c.recipient == asked.recipient, c.state != "stopped"]
    of_study = [share.id for share in docket.of(study)]
    values: dict[str, Any] = {
        "acknowledged_at": cause.at,
        "acknowledged_by": asked.actor,
        "remark": asked.reason,
    }
    done = await unit.connection.execute(
        update(corrected_shares)
        .where(*mine, c.share.in_(of_study), c.acknowledged_at.is_(None))
        .values(values)
        .returning(c.share)
    )
    shares = list(done.scalars())
    for name in shares:
        share = docket.get(name)
        if share is None:
            continue
        docket.note(share, "correction_acknowledged", cause, reason=asked.reason)
        docket.announce(share, "correction_acknowledged", cause, {"correction": asked.correction})
    if not shares and not await unit.connection.scalar(
        select(func.count()).select_from(corrected_shares).where(*mine)
    ):
        raise CannotCorrect("there is no such correction for this institution")
