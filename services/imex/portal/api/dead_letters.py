"""/dead-letters: records that could not be handled, and putting one back. Administration only."""

from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from imex.events import TOPICS
from imex.portal import audit
from imex.portal.api.access import AdminPart, After, Limit, PortalPart
from imex.portal.api.broker import broker_of
from imex.portal.context import Portal
from imex.portal.problems import Problem, not_found
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.runtime.message import RawRecord

router = APIRouter(tags=["operations"])

_DEAD = {topic.dead_letter: topic for topic in TOPICS}
_ADDED = "dead_"
"""Headers that the runtime added begin so."""


class DeadLetter(BaseModel):
    """One record that could not be handled. Its body is not shown: it may hold sealed patient data."""

    topic: str
    partition: int
    offset: int
    type: str | None
    reason: str
    at: AwareDatetime
    key: str | None = Field(description="institution and study UID")
    group: str | None = Field(description="who could not handle it")
    original: str | None = Field(description="topic, partition and offset that it came from")
    bytes: int


def _letter(record: RawRecord) -> DeadLetter:
    came_from = [record.header(f"{_ADDED}{part}") for part in ("topic", "partition", "offset")]
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        type=record.header("ce_type"),
        reason=record.header(f"{_ADDED}reason") or "unknown",
        at=_moment(record),
        key=record.key.decode(errors="replace") if record.key else None,
        group=record.header(f"{_ADDED}group"),
        original="/".join(part or "?" for part in came_from) if came_from[0] else None,
        bytes=len(record.value or b""),
    )


def _moment(record: RawRecord) -> datetime:
    try:
        found = datetime.fromisoformat(record.header(f"{_ADDED}at") or "")
    except ValueError:
        return record.timestamp
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@router.get("/dead-letters")
async def list_dead_letters(
    portal: PortalPart, _admin: AdminPart, limit: Limit = 100, after: After = None
) -> Page[DeadLetter]:
    """Dead letters of every topic, by topic, partition and offset."""
    reader = broker_of(portal).reader
    found = [_letter(record) async for record in reader.read(tuple(_DEAD))]
    found.sort(key=_place)
    if after is not None:
        topic, partition, offset = cursors.decode(after, 3)
        if not (partition.isdecimal() and offset.isdecimal()):
            raise cursors.unknown()
        found = [one for one in found if _place(one) > (topic, int(partition), int(offset))]
    page = found[:limit]
    more = len(found) > limit
    return Page(items=page, next=cursors.encode(*map(str, _place(page[-1]))) if more else None)


def _place(letter: DeadLetter) -> tuple[str, int, int]:
    return letter.topic, letter.partition, letter.offset


async def _record(portal: Portal, topic: str, partition: int, offset: int) -> RawRecord:
    record = None
    if topic in _DEAD:
        record = await broker_of(portal).reader.one(topic, partition, offset)
    if record is None:
        raise not_found("dead letter")
    return record


@router.get("/dead-letters/{topic}/{partition}/{offset}")
async def get_dead_letter(
    portal: PortalPart, _admin: AdminPart, topic: str, partition: int, offset: int
) -> DeadLetter:
    """One dead letter."""
    return _letter(await _record(portal, topic, partition, offset))


@router.post("/dead-letters/{topic}/{partition}/{offset}/replay")
async def replay_dead_letter(
    portal: PortalPart, admin: AdminPart, topic: str, partition: int, offset: int
) -> DeadLetter:
    """Put the original bytes back on their topic, behind what is there. The letter itself stays."""
    record = await _record(portal, topic, partition, offset)
    letter = _letter(record)
    if record.value is None:
        raise Problem(409, "The letter has no body, so that there is nothing to put back.")
    async with portal.database.unit() as unit:
        details = {"letter": f"{topic}/{partition}/{offset}", "type": letter.type or ""}
        audit.record(unit, admin, "dead_letter_replayed", reason=letter.reason[:500], details=details)
    headers = tuple((name, value) for name, value in record.headers if not name.startswith(_ADDED))
    await broker_of(portal).producer.send_raw(_DEAD[topic].name, record.key, record.value, headers)
    return letter
