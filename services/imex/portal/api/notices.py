"""/notices: shares that are late and studies that do not go on, until somebody has seen to them."""

from datetime import UTC, datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from imex.db import UnitOfWork
from imex.portal import audit
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.problems import forbidden, not_found
from imex.portal.queries import notices
from imex.portal.queries.page import Page
from imex.portal.scope import Caller

router = APIRouter(tags=["notices"])


class Acknowledgement(BaseModel):
    """What was done about it, in words that name no patient."""

    model_config = ConfigDict(extra="forbid")

    remark: str = Field(default="", max_length=500)


@router.get("/notices")
async def list_notices(
    *,
    portal: PortalPart,
    caller: CallerPart,
    state: notices.NoticeState | None = "open",
    kind: notices.NoticeKind | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[notices.Notice]:
    """Notices on what the caller's institution sends or receives, the newest first."""
    async with portal.database.unit() as unit:
        page = await notices.listed(
            unit.connection, caller.scope, state=state, kind=kind, limit=limit, after=after
        )
        looked_at(unit, caller, len(page.items))
    return page


@router.post("/notices/{notice}/acknowledge")
async def acknowledge_notice(
    portal: PortalPart, caller: CallerPart, notice: UUID, body: Acknowledgement | None = None
) -> notices.Notice:
    """Somebody has seen to it: it is not listed as open any more for the caller's institution."""
    remark = body.remark.strip() if body else ""
    async with portal.database.unit() as unit:
        await acknowledge(unit, caller, notice, remark)
        found = await notices.get(unit.connection, caller.scope, notice)
    if found is None:
        raise not_found("notice")
    return found


async def acknowledge(unit: UnitOfWork, caller: Caller, notice: UUID, remark: str) -> None:
    """Write that the caller's institution has seen to a notice.

    Raises:
        Problem: 404, it is none of the caller's; 403, the caller may only look.
    """
    found = await notices.get(unit.connection, caller.scope, notice)
    if found is None:
        raise not_found("notice")
    if not caller.acts_for(*(one for one in (found.source, found.recipient) if one)):
        raise forbidden("Your account can look at notices and not acknowledge them.")
    await notices.acknowledge(unit.connection, caller, notice, datetime.now(UTC), remark)
    audit.record(
        unit,
        caller,
        "notice_acknowledged",
        source=found.source,
        study_uid=found.study_uid,
        recipient=found.recipient,
        share=found.share,
        reason=remark,
        details={"notice": str(notice), "kind": found.kind},
    )


def looked_at(unit: UnitOfWork, caller: Caller, count: int) -> None:
    """Record that notices were listed, before they are shown."""
    audit.record(unit, caller, "shares_listed", counts={"notices": count}, details={"list": "notices"})
