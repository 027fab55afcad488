"""/requests: one institution asks another for a patient's studies."""

from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from imex.portal import requesting
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.queries import requests
from imex.portal.queries.page import Page
from imex.portal.requesting import Decided, NewRequest, Request

router = APIRouter(tags=["requests"])


class Decision(BaseModel):
    """Why, in words that name no patient."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: str = Field(default="", max_length=500)


@router.get("/requests")
async def list_requests(
    *,
    portal: PortalPart,
    caller: CallerPart,
    state: requests.State | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[requests.Request]:
    """Requests that the caller's institution has made, or is asked, the newest first."""
    async with portal.database.engine.connect() as connection:
        return await requests.listed(connection, caller.scope, state, limit, after)


@router.get("/requests/{request}")
async def get_request(portal: PortalPart, caller: CallerPart, request: UUID) -> Request:
    """One request, with whom or what it is about. That somebody looked is audited."""
    return await requesting.shown(portal, caller, request)


@router.post("/requests", status_code=201, responses={202: {"model": requests.Pending}})
async def make_request(
    portal: PortalPart, caller: CallerPart, wanted: NewRequest, response: Response
) -> Request | requests.Pending:
    """Ask another institution for studies. No agreement that covers the way: `refused`, and why."""
    request, made = await requesting.make(portal, caller, wanted)
    if not made:
        response.status_code = 202
        return requests.Pending(id=request)
    response.headers["Location"] = f"/api/v1/requests/{request}"
    return await requesting.shown(portal, caller, request)


@router.post("/requests/{request}/{command}", responses={202: {"model": requests.Pending}})
async def decide_request(  # noqa: PLR0917  what a decision says
    portal: PortalPart,
    caller: CallerPart,
    request: UUID,
    command: Decided,
    decision: Decision,
    response: Response,
) -> Request | requests.Pending:
    """Grant, refuse, or look again in the archives for (`retry`) what one's institution is asked for.

    Or withdraw what it has asked for.
    """
    if not await requesting.decide(portal, caller, request, command, decision.reason):
        response.status_code = 202
        return requests.Pending(id=request)
    return await requesting.shown(portal, caller, request)
