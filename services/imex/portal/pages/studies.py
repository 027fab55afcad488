"""Studies that nothing addresses, and sharing one by hand."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from starlette.responses import Response

from imex.directory import Institution
from imex.portal import audit, commands
from imex.portal.answers import answer_to
from imex.portal.api.share_commands import check_new
from imex.portal.api.studies import record_studies
from imex.portal.commands import NewShare
from imex.portal.pages.render import render
from imex.portal.pages.visitors import OwnForm, SignedIn, SignedInPart
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import directories, studies

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 25


@router.get("/studies")
async def list_page(request: Request, who: SignedInPart, after: str = "") -> Response:
    """Studies of one's own that go nowhere yet."""
    async with who.portal.database.unit() as unit:
        page = await studies.listed(
            unit.connection, who.caller.scope, addressed=False, limit=PAGE_SIZE, after=after or None
        )
        record_studies(unit, who.caller, page.items)
    return render(request, "studies.html", who.caller, page=page)


@router.get("/studies/{source}/{study_uid}/share")
async def share_form(request: Request, who: SignedInPart, source: str, study_uid: str) -> Response:
    """To whom a study is to go."""
    return await _form(request, who, source, study_uid, "")


async def _form(request: Request, who: SignedIn, source: str, study_uid: str, problem: str) -> Response:
    study, recipients = await _choices(who, source, study_uid)
    return render(
        request,
        "share_form.html",
        who.caller,
        422 if problem else 200,
        study=study,
        recipients=recipients,
        problem=problem,
    )


async def _choices(who: SignedIn, source: str, study_uid: str) -> tuple[studies.Study, list[Institution]]:
    async with who.portal.database.unit() as unit:
        study = await studies.of_share_source(unit.connection, who.caller.scope, source, study_uid)
        if study is None:
            raise not_found("study")
        if not who.caller.acts_for(source):
            raise forbidden(f"Only {source} can share its studies.")
        known = (await directories.in_force(unit.connection)).directory.institutions
        audit.record(
            unit,
            who.caller,
            "share_viewed",
            source=source,
            study_uid=study_uid,
            details={"part": "form for a new share"},
        )
    return study, [one for one in known if one.endpoints and one.code != source]


@router.post("/studies/{source}/{study_uid}/share", dependencies=[OwnForm])
async def share(
    request: Request,
    who: SignedInPart,
    source: str,
    study_uid: str,
    *,
    recipient: Annotated[str, Form(max_length=32)] = "",
    purpose: Annotated[str, Form(max_length=64)] = "direct-care",
    clinician: Annotated[str, Form(max_length=200)] = "",
    priority: Annotated[str, Form(max_length=16)] = "routine",
) -> Response:
    """Ask for the share and show it; an agreement that is missing shows there as a refusal."""
    if not recipient:
        return await _form(request, who, source, study_uid, "Choose who is to get it")
    if not who.caller.acts_for(source):
        raise forbidden(f"Only {source} can share its studies.")
    try:
        wanted = NewShare.model_validate(
            {
                "source": source,
                "study_uid": study_uid,
                "recipient": recipient,
                "purpose": purpose,
                "priority": priority,
                "clinician": clinician.strip() or None,
            }
        )
    except ValidationError:
        raise Problem(422, "Imex does not know a value of this form. Go back and choose again.") from None
    async with who.portal.database.unit() as unit:
        check_new(wanted, await directories.in_force(unit.connection))
        command = await commands.command_id(unit, who.caller, None, wanted)
        commands.create_share(unit, who.caller, command, wanted, None)

    result = await answer_to(who.portal, command, wanted.recipient)
    if result is None:
        return RedirectResponse("/shares", 303)
    if result.share is None:
        raise Problem(409, result.message or "That could not be done.")
    return RedirectResponse(f"/shares/{result.share}", 303)
