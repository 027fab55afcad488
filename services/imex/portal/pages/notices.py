"""Notices: shares that are late and studies that do not go on."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from imex.portal.api.notices import acknowledge, looked_at
from imex.portal.pages.render import render
from imex.portal.pages.visitors import OwnForm, SignedInPart
from imex.portal.queries import destinations, directories, notices

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 25


@router.get("/notices")
async def list_page(
    request: Request,
    who: SignedInPart,
    show: Literal["open", "acknowledged"] = "open",
    after: str = "",
) -> Response:
    """What somebody should see to, the newest first."""
    async with who.portal.database.unit() as unit:
        page = await notices.listed(
            unit.connection, who.caller.scope, state=show, limit=PAGE_SIZE, after=after or None
        )
        directory = (await directories.in_force(unit.connection)).directory
        held = await destinations.listed(unit.connection, who.caller.scope, directory, held_only=True)
        looked_at(unit, who.caller, len(page.items))
    return render(
        request, "notices.html", who.caller, page=page, show=show, held=held, may_act=who.caller.may_act
    )


@router.post("/notices/{notice}/acknowledge", dependencies=[OwnForm])
async def acknowledge_page(
    who: SignedInPart, notice: UUID, remark: Annotated[str, Form(max_length=500)] = ""
) -> Response:
    """Somebody has seen to it."""
    async with who.portal.database.unit() as unit:
        await acknowledge(unit, who.caller, notice, remark.strip())
    return RedirectResponse("/notices", 303)
