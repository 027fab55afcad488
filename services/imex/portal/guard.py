"""What no request may bring: a body without bounds, and the character that the database cannot hold."""

from collections.abc import AsyncIterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imex.portal import problems
from imex.portal.problems import Problem

MAX_BODY_BYTES = 1 << 20
"""Of forms and commands, which are small. Bodies are read before the caller is known."""
MAX_DIRECTORY_BYTES = 16 << 20
DIRECTORY_PATH = "/api/v1/directory"
STREAMED_PATH = "/dicom-web/studies"
"""Bodies of any size, read piece by piece when it is known who sends, and bounded by who takes them."""

_NUL = "A text must not contain the character U+0000. Leave it out."
_NUL_FORMS = {"application/x-www-form-urlencoded": b"%00", "application/json": b"\\u0000"}


class RequestGuard:
    """Refuses what is too large with 413 and U+0000 with 400, before anything else reads it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            _check_address(scope)
            if scope["method"] in {"GET", "HEAD", "OPTIONS"} or scope["path"].startswith(STREAMED_PATH):
                await self._app(scope, receive, send)
                return
            body = await _bounded_body(scope, receive)
            if body is None:
                return
            _check_body(scope, body)
        except Problem as problem:
            await problems.response(problem)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


def _check_address(scope: Scope) -> None:
    if "\0" in scope["path"] or b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
        raise Problem(400, _NUL)


def _check_body(scope: Scope, body: bytes) -> None:
    kind = _header(scope, b"content-type").partition(";")[0].strip().lower()
    escaped = _NUL_FORMS.get(kind)
    if b"\0" in body or (escaped is not None and escaped in body):
        raise Problem(400, _NUL)


async def _bounded_body(scope: Scope, receive: Receive) -> bytes | None:
    """The body; None when the client has gone away."""
    limit = MAX_DIRECTORY_BYTES if scope["path"] == DIRECTORY_PATH else MAX_BODY_BYTES
    declared = _header(scope, b"content-length")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in _chunks(receive):
        if chunk is None:
            return None
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


async def _chunks(receive: Receive) -> AsyncIterator[bytes | None]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            yield None
            return
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` of an application that has the body still before it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _too_large(limit: int) -> Problem:
    words = f"The body may have {limit} bytes at most."
    return Problem(413, words, headers={"Connection": "close"})


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
