"""Storage commitments that senders asked of Imex."""

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from imex.portal import audit
from imex.portal.pages.render import render
from imex.portal.pages.visitors import SignedInPart
from imex.portal.problems import not_found
from imex.portal.queries import commitments

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 25
MOST_LINES = 500
"""Instances that a page shows; the rest is in the API."""


@router.get("/commitments")
async def list_page(request: Request, who: SignedInPart, after: str = "") -> Response:
    """What was asked and told, the newest first."""
    async with who.portal.database.unit() as unit:
        audit.record(unit, who.caller, "commitments_viewed")
        page = await commitments.listed(unit.connection, who.caller.scope, None, PAGE_SIZE, after or None)
    return render(request, "commitments.html", who.caller, page=page)


@router.get("/commitments/{identifier}")
async def commitment_page(request: Request, who: SignedInPart, identifier: UUID) -> Response:
    """One, with the answer about each instance: those that were refused first."""
    async with who.portal.database.unit() as unit:
        one = await commitments.get(unit.connection, who.caller.scope, identifier)
        if one is None:
            raise not_found("commitment")
        audit.record(unit, who.caller, "commitments_viewed", details={"commitment": str(identifier)})
    lines = sorted(one.lines, key=lambda line: line.answer == "committed")
    return render(
        request,
        "commitment.html",
        who.caller,
        one=one,
        lines=lines[:MOST_LINES],
        more=max(0, len(lines) - MOST_LINES),
    )
