"""/shares: what goes from whom to whom, and how far it has come."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from imex.db import UnitOfWork
from imex.events.audit import AuditAction
from imex.events.shares import ShareState
from imex.portal import audit
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.problems import not_found
from imex.portal.queries import receipts, shares, timelines
from imex.portal.queries.page import Page
from imex.portal.scope import Caller

router = APIRouter(tags=["shares"])

Identifier = Annotated[str | None, Query(min_length=1, max_length=128)]


@router.get("/shares")
async def list_shares(
    *,
    portal: PortalPart,
    caller: CallerPart,
    study_uid: Identifier = None,
    accession: Identifier = None,
    state: ShareState | None = None,
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=128, description="study UID, accession number, share id or trace id"),
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[shares.Share]:
    """Shares that the caller's institution sends or receives, the newest first."""
    wanted = shares.Filter(study_uid, accession, state, q)
    async with portal.database.unit() as unit:
        page = await shares.listed(unit.connection, caller.scope, wanted, limit, after)
        record_listing(unit, caller, wanted, page)
    return page


def record_listing(unit: UnitOfWork, caller: Caller, wanted: shares.Filter, page: Page[shares.Share]) -> None:
    """Audit a list: which filters, how many; a list about one study is kept with that study."""
    studies = {(share.source, share.study_uid) for share in page.items}
    source, study_uid = next(iter(studies)) if len(studies) == 1 else (None, wanted.study_uid)
    by = [name for name in ("study_uid", "accession", "state", "q") if getattr(wanted, name) is not None]
    audit.record(
        unit,
        caller,
        "shares_listed",
        source=source,
        study_uid=study_uid,
        counts={"shares": len(page.items), "studies": len(studies)},
        details={"filtered_by": " ".join(by)} if by else {},
    )


async def _viewed(
    unit: UnitOfWork, caller: Caller, share: UUID, part: str, action: AuditAction = "share_viewed"
) -> None:
    study = await shares.study_of(unit.connection, caller.scope, share)
    if study is None:
        raise not_found("share")
    source, study_uid, recipient = study
    audit.record(
        unit,
        caller,
        action,
        source=source,
        study_uid=study_uid,
        recipient=recipient,
        share=share,
        details={"part": part},
    )


@router.get("/shares/{share}")
async def get_share(portal: PortalPart, caller: CallerPart, share: UUID) -> shares.Share:
    """One share."""
    async with portal.database.unit() as unit:
        await _viewed(unit, caller, share, "share")
        found = await shares.get(unit.connection, caller.scope, share)
    if found is None:
        raise not_found("share")
    return found


@router.get("/shares/{share}/timeline")
async def get_timeline(
    portal: PortalPart, caller: CallerPart, share: UUID, limit: Limit = 1000, after: After = None
) -> Page[timelines.Step]:
    """Each step of a share: its time, its actor, its reason."""
    async with portal.database.unit() as unit:
        await _viewed(unit, caller, share, "timeline")
        return await timelines.of_share(unit.connection, caller.scope, share, limit, after)


@router.get("/shares/{share}/receipt", response_model=receipts.Receipt)
async def get_receipt(portal: PortalPart, caller: CallerPart, share: UUID) -> Any:
    """What the destination confirmed, signed; 404 until it has confirmed something."""
    async with portal.database.unit() as unit:
        await _viewed(unit, caller, share, "receipt")
        found = await receipts.of_share(unit.connection, caller.scope, share)
    if found is None:
        raise not_found("receipt")
    return JSONResponse(found)
