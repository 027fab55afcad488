"""Every error in the form that its reader wants: problem details for programs, a page for people."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from imex.db import is_outage
from imex.portal import problems
from imex.portal.pages import error_pages
from imex.portal.problems import Problem
from imex.runtime.errors import BrokerUnavailable
from imex.storage.port import StoreError

log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Have every error of `app` answered in words."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return await _answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await _answer(request, problems.from_validation(error))

    @app.exception_handler(StoreError)
    async def _store(request: Request, error: Exception) -> Response:
        log.warning("object store: %s", error)
        return await _answer(request, _away("The object store"))

    @app.exception_handler(BrokerUnavailable)
    async def _broker(request: Request, error: Exception) -> Response:
        log.warning("broker: %s", error)
        return await _answer(request, _away("Kafka"))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        if is_outage(error):
            problem = _away("The database")
        else:
            log.error("unexpected error", exc_info=error)
            problem = Problem(500, "Something went wrong on our side. It has been logged.")
        return await _answer(request, problem)


def _away(what: str) -> Problem:
    words = f"{what} cannot be reached. Nothing was changed; try again."
    return Problem(503, words, headers={"Retry-After": "5"})


async def _answer(request: Request, problem: HTTPException) -> Response:
    for_people = "text/html" in request.headers.get("accept", "")
    if request.url.path.startswith(problems.API_PREFIX) or not for_people:
        return problems.response(problem)
    return await error_pages.page(request, problem)
