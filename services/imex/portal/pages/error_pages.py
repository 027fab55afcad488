"""Errors as pages."""

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from imex.portal import problems


async def page(_request: Request, problem: HTTPException) -> Response:
    """The problem in words, with ways on."""
    return problems.response(problem)
