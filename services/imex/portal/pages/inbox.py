"""The inbox of an institution: what waits for it to accept, what has come, and reading it."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from imex.portal import audit, handing_out, reading
from imex.portal.pages.render import render
from imex.portal.pages.shares import carry_out, institution_names
from imex.portal.pages.visitors import OwnForm, SignedInPart
from imex.portal.problems import Problem
from imex.portal.queries import corrections, directories, inbox, receipts, timelines
from imex.portal.queries.inbox import Endpoints

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 25
WAITING_SHOWN = 50
IMAGES_SHOWN = 200
_STEPS = 1000


@router.get("/inbox")
async def list_page(request: Request, who: SignedInPart, after: str = "") -> Response:
    """What waits to be accepted, what is on its way, and what can be read, the newest first."""
    async with who.portal.database.unit() as unit:
        scope = who.caller.scope
        applied = await directories.in_force(unit.connection)
        endpoints = Endpoints.of(applied.directory)
        there = await inbox.listed(
            unit.connection, scope, "there", endpoints, limit=PAGE_SIZE, after=after or None
        )
        waiting = coming = None
        if not after:
            waiting = await inbox.listed(unit.connection, scope, "waiting", endpoints, limit=WAITING_SHOWN)
            coming = await inbox.listed(unit.connection, scope, "coming", endpoints, limit=WAITING_SHOWN)
        names = await institution_names(unit.connection)
        recalled = await corrections.outstanding_count(unit.connection, scope)
        shown = sum(len(page.items) for page in (there, waiting, coming) if page is not None)
        audit.record(
            unit, who.caller, "shares_listed", counts={"shares": shown}, details={"filtered_by": "inbox"}
        )
    return render(
        request,
        "inbox.html",
        who.caller,
        there=there,
        waiting=waiting.items if waiting else [],
        coming=coming.items if coming else [],
        names=names,
        later=bool(after),
        decides=who.caller.may_act,
        recalled=recalled,
    )


@router.get("/inbox/{share}")
async def share_page(request: Request, who: SignedInPart, share: UUID) -> Response:
    """One share that lies there. Its audit record is written before the page is."""
    async with who.portal.database.unit() as unit:
        scope = who.caller.scope
        read = await reading.begin(unit, who.caller, share, "opened", "inbox page")
        person = await inbox.person(unit.connection, scope, share)
        amount = await inbox.amount(unit.connection, scope, share)
        images = await inbox.lying(unit.connection, scope, share, IMAGES_SHOWN)
        steps = await timelines.of_share(unit.connection, scope, share, _STEPS)
        receipt = await receipts.of_share(unit.connection, scope, share)
        wrong = await corrections.listed(
            unit.connection, scope, outstanding=None, limit=IMAGES_SHOWN, share=share
        )
        names = await institution_names(unit.connection)
    if isinstance(read, Problem):
        raise read
    return render(
        request,
        "inbox_share.html",
        who.caller,
        share=read.share,
        facts=read.facts,
        person=person,
        amount=amount,
        images=[one.instance for one in images],
        views=[step for step in reversed(steps.items) if step.step == "viewed"],
        receipt=receipt,
        names=names,
        corrections=wrong.items,
    )


@router.get("/inbox/{share}/archive")
async def archive(who: SignedInPart, share: UUID) -> Response:
    """Its images as a ZIP."""
    return await handing_out.archive(who.portal, who.caller, share)


@router.post("/inbox/{share}/{command}", dependencies=[OwnForm])
async def decide(
    who: SignedInPart,
    share: UUID,
    command: Literal["accept", "refuse"],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Accept or refuse a share, and show the inbox again."""
    if command == "refuse" and not reason.strip():
        raise Problem(422, "Say why you refuse it: whoever sent it is told. Go back and enter a reason.")
    await carry_out(who, share, command, reason)
    return RedirectResponse("/inbox", 303)
