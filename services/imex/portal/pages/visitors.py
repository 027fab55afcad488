"""Who looks at a page, and whether a form comes from one of ours."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from imex.portal.auth import sessions
from imex.portal.auth.forms import FIELD
from imex.portal.context import Portal, portal_of
from imex.portal.problems import Problem
from imex.portal.scope import Caller

BROWSER_COOKIE = "imex_browser"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person with a session."""

    caller: Caller
    portal: Portal


class SignInFirst(HTTPException):
    """Nobody is signed in; carries the way to the sign-in form and back."""

    def __init__(self, request: Request) -> None:
        """`request` is where the person wanted to go."""
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        way = f"/?next={quote(wanted)}" if request.method == "GET" and wanted != "/" else "/"
        super().__init__(303, "Sign in first.", {"Location": way})


async def caller_of(request: Request) -> Caller | None:
    """Who is signed in, if anybody."""
    value = request.cookies.get(sessions.COOKIE)
    if not value:
        return None
    async with portal_of(request).database.engine.connect() as connection:
        return await sessions.caller_of(connection, value)


async def signed_in(request: Request) -> SignedIn:
    """The person; without one, the way to the sign-in form."""
    caller = await caller_of(request)
    if caller is None:
        raise SignInFirst(request)
    return SignedIn(caller, portal_of(request))


async def own_form(request: Request) -> None:
    """Refuse a form that was not on a page of ours in this browser (CSRF)."""
    form = await request.form()
    token = form.get(FIELD)
    browser = request.cookies.get(BROWSER_COOKIE, "")
    if not isinstance(token, str) or not portal_of(request).forms.valid(browser, token):
        raise Problem(
            403,
            "This form has run out or did not come from this page. Go back, reload the page and try again.",
            title="Try that again",
        )


SignedInPart = Annotated[SignedIn, Depends(signed_in)]
OwnForm = Depends(own_form)
