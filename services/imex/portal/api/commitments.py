"""/commitments: storage commitments that senders asked of Imex, and what they were told."""

from uuid import UUID

from fastapi import APIRouter

from imex.portal import audit
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.problems import not_found
from imex.portal.queries import commitments
from imex.portal.queries.page import Page

router = APIRouter(tags=["commitments"])


@router.get("/commitments")
async def list_commitments(
    *,
    portal: PortalPart,
    caller: CallerPart,
    state: commitments.State | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[commitments.Commitment]:
    """What the caller's institution has asked, the newest first; everything for administrators."""
    async with portal.database.unit() as unit:
        audit.record(unit, caller, "commitments_viewed")
        return await commitments.listed(unit.connection, caller.scope, state, limit, after)


@router.get("/commitments/{commitment}")
async def get_commitment(
    portal: PortalPart, caller: CallerPart, commitment: UUID
) -> commitments.WholeCommitment:
    """One question, with the answer about each instance."""
    async with portal.database.unit() as unit:
        found = await commitments.get(unit.connection, caller.scope, commitment)
        if found is None:
            raise not_found("commitment")
        audit.record(unit, caller, "commitments_viewed", details={"commitment": str(commitment)})
    return found
