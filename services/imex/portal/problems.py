"""Errors of the API as RFC 9457 problem details."""

from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
API_PREFIX = "/api/"


class Problem(HTTPException):
    """An answer other than success, in words that say what to do."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str | None = None,
        headers: dict[str, str] | None = None,
        errors: list[dict[str, Any]] | None = None,
    ) -> None:
        """`errors` names the single findings where there are several."""
        super().__init__(status, detail, headers)
        self.title = title
        self.errors = errors


def not_found(what: str) -> Problem:
    """Nothing of that name that the caller may see; whether it exists is not said."""
    return Problem(404, f"There is no such {what}, or it is not yours to see.")


def forbidden(detail: str) -> Problem:
    """The caller may see it and may not do this."""
    return Problem(403, detail)


def response(problem: HTTPException) -> Response:
    """The problem as its response."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": getattr(problem, "title", None) or HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": problem.detail,
    }
    errors = getattr(problem, "errors", None)
    if errors:
        body["errors"] = errors
    return JSONResponse(body, problem.status_code, headers=dict(problem.headers or {}), media_type=MEDIA_TYPE)


def from_validation(error: RequestValidationError) -> Problem:
    """Say which part of the request is wrong; what was sent is not repeated, it may be patient data."""
    errors = [
        {
            "in": str(found["loc"][0]),
            "field": ".".join(str(part) for part in found["loc"][1:]),
            "message": str(found["msg"]),
        }
        for found in error.errors()
    ]
    places = "; ".join(f"{e['in']} {e['field']}: {e['message']}".replace(" : ", ": ") for e in errors[:5])
    return Problem(422, f"The request is not valid: {places}", title="Invalid request", errors=errors)
