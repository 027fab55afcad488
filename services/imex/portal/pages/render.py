"""From a template to a response."""

from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from imex.portal.auth.forms import FormTokens
from imex.portal.context import portal_of
from imex.portal.pages.visitors import BROWSER_COOKIE
from imex.portal.scope import Caller

YEAR_S = 365 * 24 * 3600


def render(
    request: Request, template: str, caller: Caller | None, status: int = 200, **context: Any
) -> HTMLResponse:
    """The page. Its forms carry a token that is bound to this browser."""
    portal = portal_of(request)
    environment: Environment = request.app.state.templates
    browser = request.cookies.get(BROWSER_COOKIE) or FormTokens.new_browser()
    body = environment.get_template(template).render(
        caller=caller,
        path=request.url.path,
        csrf=portal.forms.issue(browser),
        local=portal.settings.local,
        **context,
    )
    response = HTMLResponse(body, status)
    if BROWSER_COOKIE not in request.cookies:
        response.set_cookie(
            BROWSER_COOKIE,
            browser,
            max_age=YEAR_S,
            httponly=True,
            samesite="lax",
            secure=not portal.settings.local,
        )
    return response
