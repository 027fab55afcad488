"""Requests for studies: what one is asked for, what one has asked for, and asking."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from starlette.responses import Response

from imex.portal import requesting
from imex.portal.pages.render import render
from imex.portal.pages.visitors import OwnForm, SignedInPart
from imex.portal.problems import Problem
from imex.portal.queries import directories, requests
from imex.portal.requesting import Decided, NewRequest

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 25
_AGAIN = frozenset({"partial", "failed", "nothing found"})


@router.get("/requests")
async def list_page(
    request: Request, who: SignedInPart, state: requests.State = "open", after: str = ""
) -> Response:
    """Requests of both directions, the newest first, and a form to ask."""
    async with who.portal.database.engine.connect() as connection:
        page = await requests.listed(connection, who.caller.scope, state, PAGE_SIZE, after or None)
        applied = await directories.in_force(connection)
    mine = who.caller.institution
    holders = [(one.code, one.name) for one in applied.directory.institutions if one.code != mine]
    return render(
        request,
        "requests.html",
        who.caller,
        page=page,
        state=state,
        mine=mine,
        holders=holders,
        may_ask=who.caller.may_act and mine is not None,
    )


@router.get("/requests/{identifier}")
async def request_page(request: Request, who: SignedInPart, identifier: UUID) -> Response:
    """One request, with whom it is about."""
    one = await requesting.shown(who.portal, who.caller, identifier)
    caller = who.caller
    return render(
        request,
        "request.html",
        caller,
        one=one,
        may_grant=one.state == "open" and caller.acts_for(one.holder),
        may_refuse=one.state in {"open", "granted"} and not one.shares and caller.acts_for(one.holder),
        may_retry=one.retrieval in _AGAIN and one.wanted is not None and caller.acts_for(one.holder),
        may_withdraw=one.state == "open" and caller.acts_for(one.requester),
    )


@router.post("/requests", dependencies=[OwnForm])
async def make_page(  # noqa: PLR0917  the form's fields
    who: SignedInPart,
    holder: Annotated[str, Form(max_length=16)],
    reason: Annotated[str, Form(max_length=500)],
    issuer: Annotated[str, Form(max_length=64)] = "",
    patient_id: Annotated[str, Form(max_length=64)] = "",
    accession: Annotated[str, Form(max_length=64)] = "",
    modality: Annotated[str, Form(max_length=16)] = "",
) -> Response:
    """Ask for studies."""
    try:
        wanted = NewRequest(
            holder=holder,
            reason=reason,
            issuer=issuer if patient_id else "",
            patient_id=patient_id,
            accession=accession,
            modality=modality.strip().upper() or None,
        )
    except ValidationError:
        words = "Say either the Patient ID with its issuer or the accession number, and a reason."
        raise Problem(422, words) from None
    identifier, _ = await requesting.make(who.portal, who.caller, wanted)
    return RedirectResponse(f"/requests/{identifier}", 303)


@router.post("/requests/{identifier}/{command}", dependencies=[OwnForm])
async def decide_page(
    who: SignedInPart, identifier: UUID, command: Decided, reason: Annotated[str, Form(max_length=500)] = ""
) -> Response:
    """Grant, refuse or withdraw it, or look for it again."""
    await requesting.decide(who.portal, who.caller, identifier, command, reason.strip())
    return RedirectResponse(f"/requests/{identifier}", 303)
