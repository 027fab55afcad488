"""Answers that hand out images of an inbox, for the API and for the pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from uuid import UUID

import structlog
from starlette.responses import Response, StreamingResponse

from imex.portal import reading
from imex.portal.archive import Archive, Broken, Gone, file_name, whole_pieces
from imex.portal.context import Portal
from imex.portal.problems import Problem, not_found
from imex.portal.queries import inbox
from imex.portal.queries.inbox import Lying
from imex.portal.reading import Reading
from imex.portal.scope import Caller
from imex.storage import StoreError

PAGE = 200
"""After so many images a download asks again whether it may go on."""

_log = structlog.get_logger(__name__)


async def archive(portal: Portal, caller: Caller, share: UUID) -> Response:
    """A share's images as a ZIP with DICOMDIR.

    Raises:
        Problem: it cannot be read, or there are too many downloads.
    """
    limits = ExitStack()
    limits.enter_context(portal.downloads.one(f"{caller.kind}/{caller.id}"))
    try:
        async with portal.database.unit() as unit:
            read = await reading.begin(unit, caller, share, "downloaded", "archive")
        if isinstance(read, Problem):
            raise read
        made = Archive(portal.payloads)
        pieces = _told(portal, caller, read, made, limits)
        first = await _first(pieces)
    except BaseException:
        limits.close()
        raise
    return StreamingResponse(
        _joined(first, pieces),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{file_name(share)}"'},
    )


async def instance(portal: Portal, caller: Caller, share: UUID, uid: str) -> Response:
    """One image of a share as a file (PS3.10).

    Raises:
        Problem: it cannot be read, or there is no such image.
    """
    async with portal.database.unit() as unit:
        lying = await inbox.lying_one(unit.connection, caller.scope, share, uid)
        read = await reading.begin(unit, caller, share, "downloaded", "instance", images=1 if lying else 0)
    if isinstance(read, Problem):
        raise read
    if lying is None:
        raise not_found("image")
    pieces = whole_pieces(portal.payloads, lying)
    first = await _first(pieces)
    return StreamingResponse(
        _joined(first, pieces),
        media_type="application/dicom",
        headers={"Content-Disposition": f'attachment; filename="{uid}.dcm"'},
    )


async def _first(pieces: AsyncGenerator[bytes, None]) -> bytes:
    """The first piece, so that what is wrong at once is an answer of its own."""
    try:
        return await anext(pieces, b"")
    except Gone as error:
        raise Problem(410, f"It cannot be handed out: {error}. Ask for the study again.") from error
    except Broken as error:
        raise Problem(500, f"It cannot be handed out: {error}. Tell the network's administration.") from error


async def _joined(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


async def _told(
    portal: Portal, caller: Caller, read: Reading, made: Archive, limits: ExitStack
) -> AsyncGenerator[bytes, None]:
    """The pieces of an archive; one that is broken off is kept in the audit record."""
    try:
        async with aclosing(made.pieces(_pages(portal, caller, read.facts.id))) as pieces:
            async for piece in pieces:
                yield piece
    except (Broken, StoreError) as error:
        reason = str(error) if isinstance(error, Broken) else "the object store failed"
        _log.warning("download broken off", share=str(read.facts.id), images=made.files, reason=reason)
        async with portal.database.unit() as unit:
            reading.broken_off(unit, caller, read, "archive", images=made.files, reason=reason)
        raise
    finally:
        limits.close()


async def _pages(portal: Portal, caller: Caller, share: UUID) -> AsyncGenerator[list[Lying], None]:
    """What may be read, asked page by page: a share that is taken back meanwhile ends it."""
    after = ""
    while True:
        async with portal.database.engine.connect() as connection:
            page = await inbox.lying(connection, caller.scope, share, PAGE, after)
            if not page and not await inbox.is_readable(connection, caller.scope, share):
                raise Gone("the share may not be read any more")
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = page[-1].instance.sop_instance_uid
