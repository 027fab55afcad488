"""/inbox, and what is read of a share that lies there."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from imex.portal import audit, handing_out, reading
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.problems import Problem
from imex.portal.queries import directories, inbox
from imex.portal.queries.inbox import Endpoints
from imex.portal.queries.page import Page

router = APIRouter(tags=["inbox"])

Uid = Annotated[str, Path(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]


@router.get("/inbox")
async def list_inbox(
    *,
    portal: PortalPart,
    caller: CallerPart,
    standing: Annotated[
        inbox.Standing, Query(description="waiting to be accepted, coming, or there")
    ] = "there",
    limit: Limit = 100,
    after: After = None,
) -> Page[inbox.InboxShare]:
    """Shares in the inboxes of the caller's institution, the newest first."""
    async with portal.database.unit() as unit:
        endpoints = Endpoints.of((await directories.in_force(unit.connection)).directory)
        page = await inbox.listed(
            unit.connection, caller.scope, standing, endpoints, limit=limit, after=after
        )
        audit.record(
            unit,
            caller,
            "shares_listed",
            counts={"shares": len(page.items)},
            details={"filtered_by": f"inbox {standing}"},
        )
    return page


@router.get(
    "/shares/{share}/archive",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}, "description": "streamed"}, 410: {}},
)
async def get_archive(portal: PortalPart, caller: CallerPart, share: UUID) -> Response:
    """A share's images as a ZIP with DICOMDIR; for its recipient, where it lies in an inbox."""
    return await handing_out.archive(portal, caller, share)


@router.get("/shares/{share}/instances")
async def list_instances(
    portal: PortalPart, caller: CallerPart, share: UUID, limit: Limit = 1000, after: After = None
) -> Page[inbox.InboxInstance]:
    """What lies of a share in an inbox, with the digests of what is handed out."""
    async with portal.database.unit() as unit:
        read = await reading.begin(unit, caller, share, "opened", "instances")
        found = await inbox.lying(unit.connection, caller.scope, share, limit + 1, after or "")
    if isinstance(read, Problem):
        raise read
    items = [one.instance for one in found[:limit]]
    return Page(items=items, next=items[-1].sop_instance_uid if len(found) > limit else None)


@router.get(
    "/shares/{share}/instances/{uid}",
    response_class=Response,
    responses={200: {"content": {"application/dicom": {}}, "description": "streamed"}, 410: {}},
)
async def get_instance(portal: PortalPart, caller: CallerPart, share: UUID, uid: Uid) -> Response:
    """One image as a file, by the SOP Instance UID under which it lies there."""
    return await handing_out.instance(portal, caller, share, uid)
