"""Recalls and corrections: what is outstanding, recalling a share, and acknowledging."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from imex.portal import correcting
from imex.portal.correcting import NewCorrection, Why
from imex.portal.pages.render import render
from imex.portal.pages.visitors import OwnForm, SignedInPart
from imex.portal.problems import not_found
from imex.portal.queries import corrections, shares

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 25


@router.get("/corrections")
async def list_page(
    request: Request,
    who: SignedInPart,
    show: Literal["outstanding", "acknowledged"] = "outstanding",
    after: str = "",
) -> Response:
    """What was recalled or corrected, the newest first."""
    async with who.portal.database.unit() as unit:
        page = await corrections.listed(
            unit.connection,
            who.caller.scope,
            outstanding=show == "outstanding",
            limit=PAGE_SIZE,
            after=after or None,
        )
        correcting.looked_at(unit, who.caller, len(page.items))
    return render(
        request,
        "corrections.html",
        who.caller,
        page=page,
        show=show,
        mine=who.caller.institution,
        may_act=who.caller.may_act,
    )


@router.post("/corrections/{correction}/acknowledge", dependencies=[OwnForm])
async def acknowledge_page(
    who: SignedInPart, correction: UUID, remark: Annotated[str, Form(max_length=500)] = ""
) -> Response:
    """Somebody has seen to it."""
    await correcting.acknowledge(who.portal, who.caller, correction, remark.strip())
    return RedirectResponse("/corrections", 303)


@router.post("/shares/{share}/recall", dependencies=[OwnForm])
async def recall_page(
    who: SignedInPart,
    share: UUID,
    why: Annotated[Why, Form()],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Take back the study of a share from every recipient."""
    async with who.portal.database.engine.connect() as connection:
        found = await shares.get(connection, who.caller.scope, share)
    if found is None:
        raise not_found("share")
    asked = NewCorrection(source=found.source, study_uid=found.study_uid, why=why, reason=reason.strip())
    await correcting.open_correction(who.portal, who.caller, asked)
    return RedirectResponse("/corrections", 303)
