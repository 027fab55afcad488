"""/quarantine: instances that wait for a person, and the person's decision."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from imex.portal import audit, commands
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import quarantine
from imex.portal.queries.page import Page
from imex.portal.scope import Caller

router = APIRouter(tags=["quarantine"])


class Decision(BaseModel):
    """Why, in words that name no patient."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)


@router.get("/quarantine")
async def list_quarantine(
    *,
    portal: PortalPart,
    caller: CallerPart,
    state: quarantine.QuarantineState | None = None,
    study_uid: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[quarantine.QuarantineEntry]:
    """Held instances that the caller's institution sent, the newest first."""
    async with portal.database.unit() as unit:
        page = await quarantine.listed(
            unit.connection, caller.scope, state=state, study_uid=study_uid, limit=limit, after=after
        )
        audit.record(unit, caller, "quarantine_viewed", counts={"entries": len(page.items)})
    return page


@router.get("/quarantine/{entry}")
async def get_quarantine(portal: PortalPart, caller: CallerPart, entry: UUID) -> quarantine.QuarantineEntry:
    """One held instance with its evidence and who may release it."""
    async with portal.database.unit() as unit:
        found = await quarantine.get(unit.connection, caller.scope, entry)
        if found is None:
            raise not_found("quarantine entry")
        audit.record(
            unit,
            caller,
            "quarantine_viewed",
            source=found.source,
            study_uid=found.study_uid,
            details={"entry": str(entry), "sop_instance_uid": found.sop_instance_uid},
        )
    return found


@router.post("/quarantine/{entry}/{decision}", responses={202: {"model": quarantine.QuarantineEntry}})
async def decide(
    *,
    portal: PortalPart,
    caller: CallerPart,
    entry: UUID,
    decision: Literal["release", "discard"],
    body: Decision,
    response: Response,
) -> quarantine.QuarantineEntry:
    """Let a held instance go on, or end it here. The entry then names who decided and why."""
    async with portal.database.unit() as unit:
        found = await quarantine.get(unit.connection, caller.scope, entry)
        if found is None:
            raise not_found("quarantine entry")
        check_decision(caller, found, decision)
        study = (found.source, found.study_uid)
        commands.decide_quarantine(unit, caller, decision, entry=entry, study=study, reason=body.reason)

    async def ask() -> quarantine.QuarantineEntry | None:
        async with portal.database.engine.connect() as connection:
            now = await quarantine.get(connection, caller.scope, entry)
        return now if now is not None and now.state != "waiting" else None

    decided = await commands.until(ask, portal.command_wait_s)
    if decided is None:
        response.status_code = 202
    return decided or found


def check_decision(
    caller: Caller, entry: quarantine.QuarantineEntry, decision: Literal["release", "discard"]
) -> None:
    """Who may decide, and whether anything is left to decide.

    Raises:
        Problem: 403 or 409.
    """
    if not caller.acts_for(entry.source):
        raise forbidden(f"Only {entry.source} or the network's administration may decide this.")
    if entry.state != "waiting":
        raise Problem(409, f"The entry was {entry.state} by {entry.decided_by or 'somebody'} already.")
    if decision == "release" and entry.may_release == ["admin"] and not caller.is_admin:
        raise forbidden("Only the network's administration may release this. You may discard it.")
    if decision == "release" and not entry.may_release:
        raise Problem(
            409, f"It cannot be released: {entry.reason}. Discard it, and have it sent again put right."
        )
