"""Endpoints: how each is tested, and what was found."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from imex.portal import audit, endpoint_testing
from imex.portal.pages.render import render
from imex.portal.pages.visitors import OwnForm, SignedIn, SignedInPart
from imex.portal.queries import directories, endpoint_tests

router = APIRouter(include_in_schema=False)


@router.get("/endpoints")
async def list_page(request: Request, who: SignedInPart) -> Response:
    """Where the person's institution receives, or everybody does, with the newest test of each."""
    own = who.caller.scope.institution
    async with who.portal.database.unit() as unit:
        applied = await directories.in_force(unit.connection)
        newest = await endpoint_tests.newest(unit.connection, own)
        audit.record(unit, who.caller, "endpoint_tests_viewed")
    institutions = [one for one in applied.directory.institutions if own in {None, one.code}]
    return render(request, "endpoints.html", who.caller, institutions=institutions, newest=newest)


@router.get("/endpoints/{code}/{name}")
async def endpoint_page(request: Request, who: SignedInPart, code: str, name: str) -> Response:
    """One endpoint: its newest test step by step, and a form for another one."""
    return await _page(request, who, code, name, "endpoint.html")


@router.get("/endpoints/{code}/{name}/live")
async def live(request: Request, who: SignedInPart, code: str, name: str) -> Response:
    """The part of the page that changes while a test runs."""
    return await _page(request, who, code, name, "endpoint_live.html")


async def _page(request: Request, who: SignedIn, code: str, name: str, template: str) -> Response:
    endpoint_testing.may_see(who.caller, code)
    async with who.portal.database.unit() as unit:
        endpoint = await endpoint_testing.endpoint_of(unit.connection, code, name)
        tests = await endpoint_tests.of_endpoint(unit.connection, code, name)
        if template == "endpoint.html":
            audit.record(
                unit, who.caller, "endpoint_tests_viewed", recipient=code, details={"endpoint": name}
            )
    return render(
        request,
        template,
        who.caller,
        code=code,
        endpoint=endpoint,
        tests=tests,
        may_test=who.caller.acts_for(code),
    )


@router.post("/endpoints/{code}/{name}/tests", dependencies=[OwnForm])
async def test(
    who: SignedInPart, code: str, name: str, send: Annotated[str, Form(max_length=3)] = ""
) -> Response:
    """Have it tested; the page then shows how far it is."""
    await endpoint_testing.ask(who.portal, who.caller, code, name, send=send == "yes")
    return RedirectResponse(f"/endpoints/{code}/{name}", 303)
