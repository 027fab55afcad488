"""Quarantine: what waits for a person, with the evidence, and the decision."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from imex.portal import audit, commands
from imex.portal.api.quarantine import check_decision
from imex.portal.pages.render import render
from imex.portal.pages.visitors import OwnForm, SignedIn, SignedInPart
from imex.portal.problems import Problem, not_found
from imex.portal.queries import quarantine

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 25


@router.get("/quarantine")
async def list_page(
    request: Request,
    who: SignedInPart,
    show: quarantine.QuarantineState = "waiting",
    after: str = "",
) -> Response:
    """Held images, the newest first."""
    async with who.portal.database.unit() as unit:
        page = await quarantine.listed(
            unit.connection,
            who.caller.scope,
            state=show,
            study_uid=None,
            limit=PAGE_SIZE,
            after=after or None,
        )
        audit.record(unit, who.caller, "quarantine_viewed", counts={"entries": len(page.items)})
    return render(request, "quarantine.html", who.caller, page=page, show=show)


@router.get("/quarantine/{entry}")
async def entry_page(request: Request, who: SignedInPart, entry: UUID) -> Response:
    """One held image: why it is held, and what can be done."""
    return await _entry(request, who, entry, "")


async def _entry(request: Request, who: SignedIn, entry: UUID, problem: str) -> Response:
    async with who.portal.database.unit() as unit:
        found = await quarantine.get(unit.connection, who.caller.scope, entry)
        if found is None:
            raise not_found("quarantine entry")
        audit.record(
            unit,
            who.caller,
            "quarantine_viewed",
            source=found.source,
            study_uid=found.study_uid,
            details={"entry": str(entry), "sop_instance_uid": found.sop_instance_uid},
        )
    may_decide = found.state == "waiting" and who.caller.acts_for(found.source)
    return render(
        request,
        "quarantine_entry.html",
        who.caller,
        422 if problem else 200,
        entry=found,
        may_decide=may_decide,
        problem=problem,
    )


@router.post("/quarantine/{entry}/{decision}", dependencies=[OwnForm])
async def decide(
    request: Request,
    who: SignedInPart,
    entry: UUID,
    decision: Literal["release", "discard"],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Let the image go on, or end it here."""
    if not reason.strip():
        return await _entry(request, who, entry, "Say why, so that others can follow it later")
    async with who.portal.database.unit() as unit:
        found = await quarantine.get(unit.connection, who.caller.scope, entry)
        if found is None:
            raise not_found("quarantine entry")
        check_decision(who.caller, found, decision)
        commands.decide_quarantine(
            unit,
            who.caller,
            decision,
            entry=entry,
            study=(found.source, found.study_uid),
            reason=reason.strip(),
        )

    async def ask() -> bool | None:
        async with who.portal.database.engine.connect() as connection:
            now = await quarantine.get(connection, who.caller.scope, entry)
        return True if now is not None and now.state != "waiting" else None

    if await commands.until(ask, who.portal.command_wait_s) is None:
        raise Problem(
            503,
            "Your decision is kept and will be carried out; it takes longer than usual."
            " Look again in a minute.",
            title="Still working on it",
        )
    return RedirectResponse(f"/quarantine/{entry}", 303)
