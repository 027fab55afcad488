"""Retrievals as durable jobs: claimed with a lease, and written by who holds it alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, case, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import retrieval_studies, retrievals
from imex.delivery.retrieving import facts
from imex.delivery.retrieving.matching import Answer, Chosen, Tally, Within, outcome, words_of
from imex.events import Priority, Sealed

_ORDER_OF: Final = {"emergency": 0, "urgent": 1, "routine": 2}
MOST_SAID: Final = 20


class LeaseLost(Exception):
    """The job is another's now, was withdrawn, or ordered anew."""


@dataclass(frozen=True, slots=True)
class Job:
    """A row of `delivery.retrievals` that is held here."""

    request: UUID
    order: int
    holder: str
    requester: str
    purpose: str
    endpoints: tuple[str, ...]
    asked: Mapping[str, str]
    """Endpoints that are not asked again: answered, or refused."""
    wanted: Sealed | None
    within: Within
    most: int
    held: Mapping[str, int]
    priority: Priority
    failures: int
    failing_since: datetime | None
    expires_at: datetime
    now: datetime
    """By the database's clock, when it was claimed."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row of `delivery.retrieval_studies`."""

    study_uid: str
    endpoint: str
    state: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one study, or of one try."""

    state: str
    instances: int = 0
    failed: int = 0
    said: tuple[str, ...] = field(default=())


class Rows:
    """The retrievals of one process."""

    def __init__(self, database: Database, holder: str, lease_s: float) -> None:
        """`holder` is the name under which this process leases them."""
        self._database = database
        self._holder = holder
        self._lease = timedelta(seconds=lease_s)

    async def claim(
        self, most: int, but: Collection[UUID], of_a_holder: int, running: Mapping[str, int]
    ) -> list[Job]:
        """Up to `most` that are due, or whose process has gone; the most urgent first. Not those of `but`.

        `but` are those that run here: what else runs under this name was left behind when it last ended.
        `running` counts them by holder, of which there are at most `of_a_holder` then.
        """
        t = retrievals.c
        due = and_(t.state == "waiting", t.next_attempt_at <= func.now())
        gone = or_(t.lease_until < func.now(), t.leased_by == self._holder)
        over = and_(t.state == "running", gone)
        free = and_(or_(due, over), t.id.not_in(but))
        order = (case(_ORDER_OF, value=t.priority, else_=3), t.next_attempt_at)
        taken = case({**running}, value=t.holder, else_=0) if running else literal(0)
        place = func.row_number().over(partition_by=t.holder, order_by=order) + taken
        # a window takes no locks: what was taken meanwhile is locked, or free no more
        placed = select(t.id, place.label("place")).where(free).subquery()
        fair = select(placed.c.id).where(placed.c.place <= of_a_holder)
        async with self._database.unit() as unit:
            rows = await unit.connection.execute(
                select(retrievals, func.now().label("now"))
                .where(free, t.id.in_(fair))
                .order_by(*order)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
            claimed = [_job(row) for row in rows.mappings()]
            if claimed:
                await unit.connection.execute(
                    update(retrievals)
                    .where(t.id.in_([job.request for job in claimed]))
                    .values(state="running", leased_by=self._holder, lease_until=func.now() + self._lease)
                )
        return claimed

    async def renew(self, job: Job) -> None:
        """It still runs here. Raises LeaseLost."""
        async with self._database.unit() as unit:
            await self._write(unit, job, lease_until=func.now() + self._lease)

    async def studies(self, job: Job) -> list[Found]:
        """What was found so far, the newest first."""
        s = retrieval_studies.c
        async with self._database.look() as connection:
            rows = await connection.execute(
                select(s.study_uid, s.endpoint, s.state, s.attempts)
                .where(s.request == job.request)
                .order_by(s.studied.desc(), s.study_uid)
            )
            return [Found(*row) for row in rows]

    async def answered(
        self, job: Job, endpoint: str, chosen: Chosen, said: Sequence[str], *, refused: bool = False
    ) -> None:
        """An archive has answered, or never will: it is not asked again. Raises LeaseLost."""
        async with self._database.unit() as unit:
            row = await self._write(unit, job, failures=0, failing_since=None)
            asked = {**row["asked"], endpoint: "refused" if refused else "answered"}
            await self._write(unit, job, asked=asked, said=_with(row["said"], said))
            states = ((chosen.fetch, "waiting"), (chosen.held, "held"))
            rows = [_study(job, endpoint, one, state) for answers, state in states for one in answers]
            if rows:
                await unit.connection.execute(insert(retrieval_studies).on_conflict_do_nothing(), rows)
            if not refused:
                unit.publish(facts.matched(job, endpoint, [one["study_uid"] for one in rows]))
            unit.publish(facts.queried(job, endpoint, len(rows), refused=refused))
            await self._tell(unit, job, "retrieving")

    async def tried(self, job: Job, study: Found, done: Done) -> None:
        """What became of one study. Raises LeaseLost."""
        s = retrieval_studies.c
        async with self._database.unit() as unit:
            row = await self._write(unit, job, failures=0, failing_since=None)
            if done.said:
                await self._write(unit, job, said=_with(row["said"], done.said))
            await unit.connection.execute(
                update(retrieval_studies)
                .where(s.request == job.request, s.study_uid == study.study_uid)
                .values(
                    state=done.state,
                    attempts=s.attempts + 1,
                    instances=func.greatest(s.instances, done.instances),
                    failed=done.failed,
                )
            )
            if done.state != "waiting":
                unit.publish(facts.retrieved(job, study, done))
            await self._tell(unit, job, "retrieving")

    async def wait(self, job: Job, troubles: Sequence[str], seconds: float) -> None:
        """It goes on later; people are told why. Raises LeaseLost."""
        async with self._database.unit() as unit:
            since = func.coalesce(retrievals.c.failing_since, func.now())
            again = func.now() + timedelta(seconds=seconds)
            row = await self._write(
                unit,
                job,
                state="waiting",
                leased_by=None,
                lease_until=None,
                failures=retrievals.c.failures + 1,
                failing_since=since,
                next_attempt_at=again,
            )
            words = [*troubles, f"it is tried again within {max(1, round(seconds))} s"]
            await self._tell(unit, job, "retrieving" if row["asked"] else "asking", words)

    async def end(self, job: Job, said: Sequence[str] = ()) -> str:
        """Everything has been tried; who was meant is forgotten. How it has ended. Raises LeaseLost."""
        async with self._database.unit() as unit:
            row = await self._write(unit, job, wanted=None)
            unanswered = [one for one in row["endpoints"] if row["asked"].get(one) != "answered"]
            tally = await self._tally(unit, job)
            how = outcome(tally, len(unanswered))
            await self._write(unit, job, state="ended", outcome=how, next_attempt_at=None, lease_until=None)
            await self._tell(unit, job, how, said)
        return how

    async def _tell(self, unit: UnitOfWork, job: Job, state: Any, said: Sequence[str] = ()) -> None:
        row = await self._written(unit, job, told=retrievals.c.told + 1)
        tally = await self._tally(unit, job)
        words = words_of(tally, [*row["said"], *said])
        unit.publish(facts.progressed(job, row["told"], state, words, tally))

    async def _tally(self, unit: UnitOfWork, job: Job) -> Tally:
        s = retrieval_studies.c
        rows = await unit.connection.execute(
            select(s.state, func.count(), func.sum(s.instances), func.sum(s.failed))
            .where(s.request == job.request)
            .group_by(s.state)
        )
        counted = {state: (number, instances, failed) for state, number, instances, failed in rows}

        def number(*states: str) -> int:
            return sum(counted.get(state, (0, 0, 0))[0] for state in states)

        return Tally(
            fetched=number("fetched", "held"),
            failed=number("failed"),
            waiting=number("waiting"),
            instances=sum(one[1] for one in counted.values()),
            failed_instances=sum(one[2] for one in counted.values()),
        )

    async def _write(self, unit: UnitOfWork, job: Job, **values: Any) -> Mapping[Any, Any]:
        t = retrievals.c
        held = and_(t.state == "running", t.leased_by == self._holder)
        return await self._written(unit, job, held, **values)

    async def _written(self, unit: UnitOfWork, job: Job, *where: Any, **values: Any) -> Mapping[Any, Any]:
        t = retrievals.c
        found = await unit.connection.execute(
            update(retrievals)
            .where(t.id == job.request, t.order_number == job.order, *where)
            .values(**values)
            .returning(retrievals)
        )
        row: Mapping[Any, Any] | None = found.mappings().one_or_none()
        if row is None:
            raise LeaseLost
        return row


def _with(said: Sequence[str], more: Sequence[str]) -> list[str]:
    """The same words once."""
    return list(dict.fromkeys([*said, *more]))[:MOST_SAID]


def _study(job: Job, endpoint: str, answer: Answer, state: str) -> dict[str, Any]:
    return {
        "request": job.request,
        "study_uid": answer.study_uid,
        "endpoint": endpoint,
        "studied": answer.day[:8],
        "state": state,
    }


def _job(row: Mapping[Any, Any]) -> Job:
    only = row["modalities"]
    return Job(
        request=row["id"],
        order=row["order_number"],
        holder=row["holder"],
        requester=row["requester"],
        purpose=row["purpose"],
        endpoints=tuple(row["endpoints"]),
        asked=row["asked"],
        wanted=None if row["wanted"] is None else Sealed.model_validate(row["wanted"]),
        within=Within(
            row["modality"],
            row["studied_from"],
            row["studied_until"],
            None if only is None else frozenset(only),
        ),
        most=row["most"],
        held=row["held"],
        priority=row["priority"],
        failures=row["failures"],
        failing_since=row["failing_since"],
        expires_at=row["expires_at"],
        now=row["now"],
    )
