"""Requests: one institution asks another for studies; what is granted becomes shares."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import RowMapping, select, text, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables import routing as tables
from imex.events.commands import RequestCommanded, RequestCommandedData
from imex.routing import command_results, granting, publish
from imex.routing.command_results import Result
from imex.routing.repository import Repository
from imex.routing.studies import STUDY_KEPT
from imex.routing.surroundings import Surroundings
from imex.routing.wanted import OpenWanted

State = Literal["refused", "withdrawn"]

_DAY: Final = timedelta(days=1)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_MADE = text(
    "SELECT count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE made_at > :day) AS today"
    " FROM routing.requests WHERE requester = :requester AND holder = :holder AND made_at > :since"
)
_EXPIRE = text(
    "UPDATE routing.requests SET state = 'expired', wanted = NULL, decided_at = :now,"
    " answer = 'nobody has decided about it' WHERE state = 'open' AND expires_at <= :now"
)
_FORGET = text("UPDATE routing.requests SET wanted = NULL WHERE expires_at <= :now AND wanted IS NOT NULL")


async def expire(unit: UnitOfWork, now: datetime) -> None:
    """Let requests end that nobody has decided about, or that came to nothing; who was meant is forgotten."""
    await unit.connection.execute(_EXPIRE, {"now": now})
    await unit.connection.execute(_FORGET, {"now": now})


async def obey(
    unit: UnitOfWork, commands: Sequence[RequestCommanded], around: Surroundings, open_wanted: OpenWanted
) -> None:
    """Make and decide requests, in the order of the commands."""
    makers = {(one.data.requester, one.data.holder) for one in commands if one.data.command == "make"}
    for requester, holder in sorted(makers):  # what other partitions make is counted too
        await unit.connection.execute(_LOCK, {"name": f"routing.requests/{requester}/{holder}"})
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
    if too_many := await _too_many(unit, asked, around):
        return Result("rejected", too_many)
    agreement, why = granting.agreement_for(around.index(), asked.holder, asked.requester, asked.purpose, now)
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
        await _grant(unit, row, command.id, publish.SERVICE, words, around, open_wanted, stays=True)
    return Result("done")


async def _too_many(unit: UnitOfWork, asked: RequestCommandedData, around: Surroundings) -> str:
    """Why no more is asked of the holder for now, in words; empty where more may be.

    Under an agreement that grants by itself each request is a question to the holder's archives, and a guess
    at whose studies there are.
    """
    now = around.clock()
    between = {"requester": asked.requester, "holder": asked.holder}
    made = await unit.connection.execute(_MADE, {**between, "since": now - STUDY_KEPT, "day": now - _DAY})
    is_open, today = made.one()
    if is_open >= around.open_requests:
        return (
            f"{is_open} requests of {asked.requester} to {asked.holder} are open, and more may not be:"
            " withdraw those that are not needed any more"
        )
    if today >= around.requests_a_day:
        return (
            f"{asked.requester} has asked {asked.holder} {today} times within a day, and may not more often:"
            " ask again later"
        )
    return ""


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
    if asked.command == "retry":
        return await _retry(unit, row, command.id, around, open_wanted)
    if row["state"] != "open":
        return Result("rejected", f"the request is {row['state']}")
    if asked.command == "grant":
        return await _granted(unit, row, command, around, open_wanted)
    state: State = "refused" if asked.command == "refuse" else "withdrawn"
    granting.withdraw(unit, row, f"the request was {state}", around.clock())
    await _end(unit, row["id"], state, asked.actor, asked.reason, around.clock())
    return Result("done")


async def _granted(
    unit: UnitOfWork,
    row: RowMapping,
    command: RequestCommanded,
    around: Surroundings,
    open_wanted: OpenWanted,
) -> Result:
    if row["retrieval"] in _UNDER_WAY:
        return Result("rejected", "it is granted already: its studies are being looked for")
    if await _grant(unit, row, command.id, command.data.actor, command.data.reason, around, open_wanted):
        return Result("done")
    words = "Imex holds no study that it is about and that may be shared; send one, and grant it then"
    return Result("rejected", words)


_UNDER_WAY = frozenset({"asking", "retrieving"})


def _may(asked: RequestCommandedData, row: RowMapping) -> bool:
    whose = row["requester"] if asked.command == "withdraw" else row["holder"]
    return asked.actor_institution in {None, whose}


async def _grant(  # noqa: PLR0917  what a grant depends on
    unit: UnitOfWork,
    row: RowMapping,
    cause: UUID,
    by: str,
    words: str,
    around: Surroundings,
    open_wanted: OpenWanted,
    *,
    stays: bool = False,
) -> bool:
    """Share what is here, and have the rest fetched; whether there is anything to do.

    `stays`: it is granted also where there is not, for what comes in while it is open.
    """
    held = await granting.matching(Repository(unit.connection), row, open_wanted)
    keys = [study.key for study in held]
    shares = await granting.share(unit, row, keys, cause, around, by=by, words=words)
    ordered = await granting.order(unit, row, held, cause, around)
    if not (shares or ordered or stays):
        return False
    now = around.clock()
    values = {"granted_by": by, "granted_at": now, "grant_words": words, "looked_at": now}
    await unit.connection.execute(
        update(tables.requests).where(tables.requests.c.id == row["id"]).values(**values)
    )
    if shares:
        await granting.answered(unit, row, by, words, now)
    return True


async def _retry(
    unit: UnitOfWork, row: RowMapping, cause: UUID, around: Surroundings, open_wanted: OpenWanted
) -> Result:
    """Look once more in the holder's archives."""
    if row["retrieval"] is None:
        return Result("rejected", "nothing was looked for in the archives of the holder: grant it")
    if row["retrieval"] in _UNDER_WAY:
        return Result("rejected", "its studies are being looked for")
    if row["wanted"] is None:
        return Result("rejected", "it is not kept any more who is meant: ask for it anew")
    held = await granting.matching(Repository(unit.connection), row, open_wanted)
    if not await granting.order(unit, row, held, cause, around):
        return Result(
            "rejected", f"{row['holder']} has no endpoint with query: true, or no agreement covers it"
        )
    return Result("done")


async def _end(  # noqa: PLR0917  what an ended request says
    unit: UnitOfWork, request: UUID, state: State, by: str, words: str, now: datetime
) -> None:
    values: dict[str, Any] = {"state": state, "answer": words, "decided_by": by, "decided_at": now}
    await unit.connection.execute(
        update(tables.requests).where(tables.requests.c.id == request).values(**values, wanted=None)
    )


def _day(text_: str | None) -> str | None:
    return text_.replace("-", "") if text_ else None
