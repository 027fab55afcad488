"""Requests: one institution asks another for studies; what is granted becomes shares."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import RowMapping, select, text, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables import routing as tables
from imex.directory import Agreement, DirectoryIndex, covering_agreement
from imex.events import Sealed, ids
from imex.events.commands import RequestCommanded, RequestCommandedData
from imex.events.sealed import SealedWanted, seal_context
from imex.routing import command_results, publish, studies
from imex.routing.command_results import Result
from imex.routing.patients import studies_of
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.sitting import sitting
from imex.routing.studies import STUDY_KEPT
from imex.routing.surroundings import Surroundings
from imex.sharing.decisions import Addressed
from imex.sharing.model import Study, StudyKey
from imex.sharing.persons import person
from imex.sharing.wishes import latest

OpenWanted = Callable[[Sealed, bytes], SealedWanted]
"""Opens what a request is about, in the context that it was sealed in."""

State = Literal["open", "granted", "refused", "withdrawn", "expired"]

MOST_STUDIES: Final = 50
"""That one request is answered with, the newest."""

_OF_ACCESSION = text(
    "SELECT source, study_uid FROM routing.studies"
    " WHERE source = :holder AND accession = :accession AND validated > 0"
)
_OF_UID = text(
    "SELECT source, study_uid FROM routing.studies"
    " WHERE source = :holder AND study_uid = :study_uid AND validated > 0"
)
_EXPIRE = text(
    "UPDATE routing.requests SET state = 'expired', wanted = NULL, decided_at = :now,"
    " answer = 'nobody has decided about it' WHERE state = 'open' AND expires_at <= :now"
)


async def expire(unit: UnitOfWork, now: datetime) -> None:
    """Let requests end that nobody has decided about."""
    await unit.connection.execute(_EXPIRE, {"now": now})


async def obey(
    unit: UnitOfWork, commands: Sequence[RequestCommanded], around: Surroundings, open_wanted: OpenWanted
) -> None:
    """Make and decide requests, in the order of the commands."""
    for command in commands:
        asked = command.data
        if asked.command == "make":
            result = await _make(unit, command, around, open_wanted)
        else:
            result = await _decide(unit, command, around, open_wanted)
        await command_results.tell(unit.connection, [(command.id, asked.holder, result)])


async def _make(
    unit: UnitOfWork, command: RequestCommanded, around: Surroundings, open_wanted: OpenWanted
) -> Result:
    asked, now = command.data, around.clock()
    if asked.actor_institution not in {None, asked.requester}:
        return Result("rejected", f"only {asked.requester} can ask in its own name")
    agreement, why = _agreement(around.index(), asked.holder, asked.requester, asked.purpose, now)
    made = await unit.connection.execute(
        insert(tables.requests)
        .values(
            id=asked.request,
            requester=asked.requester,
            holder=asked.holder,
            purpose=asked.purpose,
            priority=asked.priority,
            wanted=asked.wanted.model_dump() if asked.wanted and agreement else None,
            modality=asked.modality,
            studied_from=_day(asked.studied_from),
            studied_until=_day(asked.studied_until),
            reason=asked.reason,
            state="open" if agreement else "refused",
            answer="" if agreement else why,
            made_by=asked.actor,
            made_at=now,
            decided_at=None if agreement else now,
            expires_at=now + STUDY_KEPT,
        )
        .on_conflict_do_nothing()
        .returning(tables.requests)
    )
    row = made.mappings().one_or_none()
    if row is None:
        return Result("rejected", "there is such a request already")
    if agreement is not None and agreement.requests == "automatic":
        words = f"agreement {agreement.id} grants it"
        await _grant(unit, row, command.id, publish.SERVICE, words, around, open_wanted)
    return Result("done")


async def _decide(
    unit: UnitOfWork, command: RequestCommanded, around: Surroundings, open_wanted: OpenWanted
) -> Result:
    asked = command.data
    r = tables.requests.c
    found = await unit.connection.execute(
        select(tables.requests).where(r.id == asked.request).with_for_update()
    )
    row = found.mappings().one_or_none()
    if row is None:
        return Result("rejected", "there is no such request")
    if not _may(asked, row):
        whose = row["requester"] if asked.command == "withdraw" else row["holder"]
        return Result("rejected", f"only {whose} can {asked.command} this request")
    if row["state"] != "open":
        return Result("rejected", f"the request is {row['state']}")
    if asked.command == "grant":
        shared = await _grant(unit, row, command.id, asked.actor, asked.reason, around, open_wanted)
        if not shared:
            words = "Imex holds no study that it is about and that may be shared; send one, and grant it then"
            return Result("rejected", words)
        return Result("done")
    state: State = "refused" if asked.command == "refuse" else "withdrawn"
    await _end(unit, row["id"], state, asked.actor, asked.reason, around.clock())
    return Result("done")


def _may(asked: RequestCommandedData, row: RowMapping) -> bool:
    whose = row["requester"] if asked.command == "withdraw" else row["holder"]
    return asked.actor_institution in {None, whose}


def _agreement(
    index: DirectoryIndex, holder: str, requester: str, purpose: str, at: datetime
) -> tuple[Agreement | None, str]:
    """The agreement under which anything could be shared in answer, or why there is none."""
    covered = covering_agreement(index, holder, requester, purpose, at)
    if covered.agreement is not None and covered.agreement.deidentify is not None:
        # what is shared in answer would tell who is behind a pseudonym
        words = (
            f"agreement {covered.agreement.id} de-identifies what is shared: nobody can be asked for by name"
        )
        return None, words
    return covered.agreement, covered.words


async def _grant(  # noqa: PLR0917  what a grant depends on
    unit: UnitOfWork,
    row: RowMapping,
    cause: UUID,
    by: str,
    words: str,
    around: Surroundings,
    open_wanted: OpenWanted,
) -> int:
    """Share what it is about; how many studies. Where there is none, it stays open."""
    keys = await _matching(Repository(unit.connection), row, open_wanted)
    shares: list[UUID] = []
    async with sitting(unit, around, keys) as now:
        for number, key in enumerate(sorted(now.studies)):
            study = now.studies[key]
            told = Cause(ids.derived("request", str(cause), str(number)), around.clock(), publish.person(by))
            wish = Addressed(
                recipient=row["requester"],
                purpose=row["purpose"],
                priority=row["priority"],
                origin="command",
                reference=str(row["id"]),
            )
            share = now.deciding.ask_by_hand(study, wish, told) or latest(
                now.docket.of(study), row["requester"], row["purpose"]
            )
            if share is None or not share.live:
                continue  # refused after all, or it has had its time
            now.docket.note(share, "request_granted", told, reason=words, details={"request": str(row["id"])})
            now.studies[key] = studies.due_again(study, share)
            shares.append(share.id)
    if not shares:
        return 0
    await unit.connection.execute(
        insert(tables.request_shares).on_conflict_do_nothing(),
        [{"request": row["id"], "share": share} for share in shares],
    )
    await _end(unit, row["id"], "granted", by, words, around.clock())
    return len(shares)


async def _matching(repository: Repository, row: RowMapping, open_wanted: OpenWanted) -> list[StudyKey]:
    if row["wanted"] is None:
        return []
    wanted = open_wanted(Sealed.model_validate(row["wanted"]), seal_context("request", row["id"]))
    holder = row["holder"]
    if wanted.study_uid:
        found = await repository.studies_by(_OF_UID, holder=holder, study_uid=wanted.study_uid)
    elif wanted.accession:
        found = await repository.studies_by(_OF_ACCESSION, holder=holder, accession=wanted.accession)
    else:
        whose = person(holder, wanted.issuer, wanted.patient_id)
        if whose is None:
            return []
        found = await studies_of(repository, holder, whose)
    fitting = [study for study in found if _fits(study, row)]
    fitting.sort(key=lambda study: study.first_received_at, reverse=True)
    return [study.key for study in fitting[:MOST_STUDIES]]


def _fits(study: Study, row: RowMapping) -> bool:
    """Whether a study is within what the request says of modality and days."""
    if study.retiring_at is not None or study.disposed_at is not None:
        return False
    if row["modality"] and row["modality"] not in study.modalities:
        return False
    day = study.study_date
    if (row["studied_from"] or row["studied_until"]) and not day:
        return False
    return (row["studied_from"] or day) <= day <= (row["studied_until"] or day)


async def _end(  # noqa: PLR0917  what an ended request says
    unit: UnitOfWork, request: UUID, state: State, by: str, words: str, now: datetime
) -> None:
    values: dict[str, Any] = {"state": state, "answer": words, "decided_by": by, "decided_at": now}
    await unit.connection.execute(
        update(tables.requests).where(tables.requests.c.id == request).values(**values, wanted=None)
    )


def _day(text_: str | None) -> str | None:
    return text_.replace("-", "") if text_ else None
