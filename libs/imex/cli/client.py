"""The API as the commands see it: JSON in and out, failures in words that say what to do."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from imex.cli.failure import Failure, Unreachable
from imex.cli.stack import Connection, connection

TIMEOUT_S = 30.0
PAGE = 200
"""Items asked for at a time."""

Params = Mapping[str, str | int | None]
_HINTS = {
    401: "The token is not accepted: check IMEX_TOKEN; on a local stack run: make up",
    403: "This token may not do that; the admin token of stack.json may do most things.",
    503: "A part of the stack is away; see: curl <portal>/ready",
}


class Api:
    """A connection to ``/api/v1``. Use as a context manager."""

    def __init__(
        self, where: Connection | None = None, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        """``where`` defaults to ``connection()``; ``transport`` stands in for the network."""
        self.where = where or connection()
        loopback = urlsplit(self.where.api).hostname in {"127.0.0.1", "localhost", "::1"}
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {self.where.token}", "Accept": "application/json"},
            timeout=TIMEOUT_S,
            trust_env=not loopback,
            transport=transport,
        )

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: Params | None = None) -> Any:
        """The JSON that GET answers. Raises ``Failure``."""
        return self.request("GET", path, params=_given(params)).json()

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON that POST answers, None where it answers nothing. Raises ``Failure``."""
        answer = self.request("POST", path, json=body)
        return answer.json() if answer.content else None

    def request(
        self, method: str, path: str, *, or_status: int | None = None, **arguments: Any
    ) -> httpx2.Response:
        """An answer that is a success, or has the status the caller can deal with. Raises ``Failure``."""
        try:
            answer = self._http.request(method, self.where.api + path, **arguments)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.is_success or answer.status_code == or_status:
            return answer
        raise failure_of(answer)

    def stream(self, path: str, params: Params | None = None) -> Iterator[bytes]:
        """The body of GET as it comes. Raises ``Failure``."""
        try:
            with self._http.stream("GET", self.where.api + path, params=_given(params)) as answer:
                if not answer.is_success:
                    answer.read()
                    raise failure_of(answer)
                yield from answer.iter_bytes()
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def items(self, path: str, params: Params | None = None, limit: int | None = None) -> dict[str, Any]:
        """A list as the API answers it, whole unless ``limit`` is given: ``{"items": …, "next": …}``."""
        collected: list[Any] = []
        after: str | None = None
        while True:
            size = PAGE if limit is None else min(PAGE, limit - len(collected))
            page = self.get(path, {**(params or {}), "limit": size, "after": after})
            collected += page["items"]
            after = page.get("next")
            if after is None or (limit is not None and len(collected) >= limit):
                return {**page, "items": collected, "next": after}

    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        if isinstance(error, httpx2.TimeoutException):
            return Unreachable(f"{self.where.api} did not answer within {TIMEOUT_S:.0f} s.", "Try again.")
        if isinstance(error, httpx2.ConnectError):
            return Unreachable(
                f"{self.where.api} cannot be reached. Is the stack up?", "Start it with: make up"
            )
        if isinstance(error, httpx2.UnsupportedProtocol):
            return Unreachable(
                f"{self.where.api} is no address of an API.",
                "Set IMEX_API to one such as http://127.0.0.1:8080/api/v1",
            )
        return Unreachable(
            f"The connection to {self.where.api} broke ({type(error).__name__}).", "Try again."
        )


def segment(value: str) -> str:
    """A value as one segment of a path."""
    return quote(value, safe="")


def failure_of(answer: httpx2.Response) -> Failure:
    """What a problem (RFC 9457) says, finding by finding, and what to do about it."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return Failure(f"{answer.request.url.path} answered {answer.status_code} {answer.reason_phrase}.")
    title = str(problem.get("title") or answer.reason_phrase)
    detail = str(problem.get("detail") or "")
    lines = [f"{title}: {detail}" if detail else title]
    for one in problem.get("errors") or []:
        if isinstance(one, dict):
            place = f"line {one['line']}: " if one.get("line") else ""
            named = f"{one['field']}: " if one.get("field") else ""
            lines.append(f"  {place}{named}{one.get('message', '')}")
    if hint := _HINTS.get(answer.status_code):
        lines.append(hint)
    return Failure(*lines)


def _given(params: Params | None) -> dict[str, str | int]:
    return {name: value for name, value in (params or {}).items() if value is not None}
