"""/rules: how a changed directory would have decided. Administration only; nothing is sent."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, Field

from imex.directory import Directory, DirectoryErrors, DirectoryIndex, parse
from imex.portal import audit
from imex.portal.api.access import AdminPart, PortalPart
from imex.portal.api.directory import YAML, invalid, text_of
from imex.portal.queries import decisions
from imex.portal.queries.decisions import StudyDecisions
from imex.sharing.differences import combined, difference, replay_study

router = APIRouter(tags=["rules"])

MOST_TOLD = 10_000
"""Studies that are told one by one; the others are counted."""


class StudyDifference(BaseModel):
    """What would have been decided otherwise of one study."""

    source: str
    study_uid: str
    at: AwareDatetime = Field(description="of the last decision about it")
    changes: list[str]


class Replay(BaseModel):
    """A changed directory over what was decided."""

    version: str = Field(description="of the directory that was sent")
    since: AwareDatetime
    studies: int = Field(description="that were decided about since then")
    decisions: int
    changed: int = Field(description="studies of which something would have been decided otherwise")
    items: list[StudyDifference]


@router.post(
    "/rules/replay",
    openapi_extra={"requestBody": {"required": True, "content": {YAML: {"schema": {"type": "string"}}}}},
)
async def replay(
    portal: PortalPart,
    admin: AdminPart,
    request: Request,
    days: Annotated[float, Query(gt=0, le=3650, description="how far to look back")] = 7,
) -> Replay:
    """Ask what was decided in these days of the directory in the body, and tell the difference."""
    content = await text_of(request)
    try:
        directory = await asyncio.to_thread(parse, content)
    except DirectoryErrors as errors:
        raise invalid(errors, "nothing was asked") from None
    index = await asyncio.to_thread(_indexed, directory)
    since = datetime.now(UTC) - timedelta(days=days)
    async with portal.database.unit() as unit:
        audit.record(unit, admin, "directory_read", details={"replayed": index.version, "days": f"{days:g}"})
    done = Replay(version=index.version, since=since, studies=0, decisions=0, changed=0, items=[])
    async for page in decisions.by_study(portal.database, since):
        # off the loop: others want to be served meanwhile
        told = await asyncio.to_thread(_differences, index, page)
        done.studies += len(page)
        done.decisions += sum(len(study.questions) for study in page)
        done.changed += len(told)
        done.items += told[: MOST_TOLD - len(done.items)]
    return done


def _indexed(directory: Directory) -> DirectoryIndex:
    index = DirectoryIndex(directory)
    _ = index.version
    return index


def _differences(index: DirectoryIndex, page: Sequence[StudyDecisions]) -> list[StudyDifference]:
    found = []
    for study in page:
        replayed = combined(replay_study(index, study.questions))
        if changes := difference(combined(study.answers), replayed):
            found.append(
                StudyDifference(
                    source=study.source, study_uid=study.study_uid, at=study.at, changes=list(changes)
                )
            )
    return found
