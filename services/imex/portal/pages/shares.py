"""Shares: the list, one share with its live timeline, and what can be done about it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from imex.portal import audit, commands
from imex.portal.answers import answer_to
from imex.portal.api.share_commands import check_change
from imex.portal.api.shares import record_listing
from imex.portal.commands import ShareCommand
from imex.portal.pages.render import render
from imex.portal.pages.visitors import OwnForm, SignedIn, SignedInPart
from imex.portal.pages.words import STATES
from imex.portal.problems import Problem, not_found
from imex.portal.queries import directories, inbox, notices, quarantine, receipts, shares, studies, timelines
from imex.portal.scope import Caller

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 25
STEPS_SHOWN = 1000


@router.get("/shares")
async def list_page(
    request: Request, who: SignedInPart, q: str = "", state: str = "", after: str = ""
) -> Response:
    """The newest shares, or those that the search finds."""
    if state and state not in STATES:
        raise Problem(422, "There is no such state. Choose one from the list.")
    wanted = shares.Filter(q=q.strip()[:128] or None, state=state or None)
    async with who.portal.database.unit() as unit:
        scope = who.caller.scope
        page = await shares.listed(unit.connection, scope, wanted, PAGE_SIZE, after or None)
        counts = {
            "quarantined": await quarantine.waiting_count(unit.connection, scope),
            "unaddressed": await studies.unaddressed_count(unit.connection, scope),
            "noticed": await notices.open_count(unit.connection, scope),
            "unaccepted": await inbox.waiting_count(unit.connection, scope),
        }
        names = await institution_names(unit.connection)
        record_listing(unit, who.caller, wanted, page)
    return render(
        request,
        "shares.html",
        who.caller,
        page=page,
        q=q,
        state=state,
        names=names,
        later=bool(after),
        **counts,
    )


@router.get("/shares/{share}")
async def share_page(request: Request, who: SignedInPart, share: UUID) -> Response:
    """One share. Its audit record is written before the page is."""
    context = await _facts(who, share, seen=False)
    return render(request, "share.html", who.caller, **context)


@router.get("/shares/{share}/live")
async def live_part(
    request: Request, who: SignedInPart, share: UUID, view: str = "", mark: str = ""
) -> Response:
    """The parts of a share's page that change; 204 while nothing has.

    `view` proves that the page was opened, and audited, by this person; without it this is a view of its own.
    """
    seen = who.portal.forms.is_view(view, who.caller.id, str(share))
    context = await _facts(who, share, seen=seen)
    if context["mark"] == mark:
        return Response(status_code=204)
    return render(request, "share_live.html", who.caller, **context)


async def _facts(who: SignedIn, share: UUID, *, seen: bool) -> dict[str, Any]:
    scope = who.caller.scope
    async with who.portal.database.unit() as unit:
        found = await shares.get(unit.connection, scope, share)
        if found is None:
            raise not_found("share")
        steps = await timelines.of_share(unit.connection, scope, share, STEPS_SHOWN)
        receipt = await receipts.of_share(unit.connection, scope, share)
        held = await quarantine.listed(
            unit.connection, scope, state="waiting", study_uid=found.study_uid, limit=5
        )
        names = await institution_names(unit.connection)
        if not seen:
            audit.record(
                unit,
                who.caller,
                "share_viewed",
                source=found.source,
                study_uid=found.study_uid,
                recipient=found.recipient,
                share=share,
                details={"part": "page"},
            )
    return {
        "share": found,
        "steps": steps.items,
        "receipt": receipt,
        "held": [entry for entry in held.items if entry.source == found.source],
        "names": names,
        "possible": _possible(who.caller, found),
        "view": who.portal.forms.view(who.caller.id, str(share)),
        "mark": f"{found.state}-{found.updated_at.timestamp()}-{len(steps.items)}-{found.instances.delivered}"
        f"-{found.instances.received}-{receipt['revision'] if receipt else 0}",
    }


def _possible(caller: Caller, share: shares.Share) -> list[ShareCommand]:
    def allowed(command: ShareCommand) -> bool:
        try:
            check_change(caller, share, command)
        except Problem:
            return False
        return True

    every: tuple[ShareCommand, ...] = ("accept", "refuse", "complete", "cancel", "revoke")
    found = [command for command in every if allowed(command)]
    # before anything has arrived, taking back and calling off are the same: one button is enough
    return [command for command in found if command != "revoke" or "cancel" not in found]


async def institution_names(connection: Any) -> dict[str, str]:
    """Of the directory in force, by code."""
    applied = await directories.in_force(connection)
    return {institution.code: institution.name for institution in applied.directory.institutions}


@router.post("/shares/{share}/{command}", dependencies=[OwnForm])
async def change(
    who: SignedInPart,
    share: UUID,
    command: ShareCommand,
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Carry out one of the buttons, and show the share again."""
    await carry_out(who, share, command, reason)
    return RedirectResponse(f"/shares/{share}", 303)


async def carry_out(who: SignedIn, share: UUID, command: ShareCommand, reason: str) -> None:
    """Have routing do what a button says, and wait for it.

    Raises:
        Problem: the person may not, or it is too late for that.
    """
    async with who.portal.database.unit() as unit:
        found = await shares.get(unit.connection, who.caller.scope, share)
        if found is None:
            raise not_found("share")
        check_change(who.caller, found, command)
        study = await shares.study_of(unit.connection, who.caller.scope, share)
        if study is None:
            raise not_found("share")
        made = commands.change_share(
            unit, who.caller, command, share=share, study=study, reason=reason.strip()
        )

    result = await answer_to(who.portal, made, found.recipient)
    if result is not None and result.outcome == "rejected":
        raise Problem(409, result.message)
