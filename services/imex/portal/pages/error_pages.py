"""Errors as pages."""

from fastapi import Request
from fastapi.responses import RedirectResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from imex.db import is_outage
from imex.portal.pages.render import render
from imex.portal.pages.visitors import SignInFirst, caller_of

_TITLES = {
    403: "You cannot do that",
    404: "Page not found",
    405: "Page not found",
    409: "It is too late for that",
    422: "That is not quite right",
    429: "Too many attempts",
    503: "Imex is not available at the moment",
}


async def page(request: Request, problem: HTTPException) -> Response:
    """The problem in words, with ways on."""
    if isinstance(problem, SignInFirst):
        return RedirectResponse(problem.headers["Location"] if problem.headers else "/", 303)
    try:
        caller = await caller_of(request)
    except SQLAlchemyError as error:
        if not is_outage(error):
            raise
        caller = None
    status = problem.status_code
    title = getattr(problem, "title", None) or _TITLES.get(status, "Something went wrong")
    detail = "" if problem.detail in {"Not Found", "Method Not Allowed"} else problem.detail
    return render(request, "error.html", caller, status, title=title, detail=detail)
