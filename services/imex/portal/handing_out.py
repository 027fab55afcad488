"""Answers that hand out images of an inbox, for the API and for the pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack
from uuid import UUID

from starlette.responses import Response

from imex.portal import reading
from imex.portal.archive import Archive, Gone, file_name, whole_pieces
from imex.portal.context import Portal
from imex.portal.problems import Problem, not_found
from imex.portal.queries import inbox
from imex.portal.queries.inbox import Lying
from imex.portal.reading import Reading
from imex.portal.scope import Caller
from imex.portal.streaming import BrokenOff, HandedOut, begun

PAGE = 200
"""After so many images a download asks again whether it may go on."""


async def archive(portal: Portal, caller: Caller, share: UUID) -> Response:
    """A share's images as a ZIP with DICOMDIR.

    Raises:
        Problem: it cannot be read, or there are too many downloads.
    """
    room = ExitStack()
    room.enter_context(portal.downloads.one(f"{caller.kind}/{caller.id}"))
    try:
        async with portal.database.unit() as unit:
            read = await reading.begin(unit, caller, share, "downloaded", "archive")
        if isinstance(read, Problem):
            raise read
        made = Archive(portal.payloads)
        pieces = made.pieces(_pages(portal, caller, read.facts.id))
        told = _told(portal, caller, read, "archive", made)
        first = await begun(pieces, told)
    except BaseException:
        room.close()
        raise
    headers = {
        "Content-Type": "application/zip",
        "Content-Disposition": f'attachment; filename="{file_name(share)}"',
    }
    return HandedOut(first, pieces, room, told, headers)


async def instance(portal: Portal, caller: Caller, share: UUID, uid: str) -> Response:
    """One image of a share as a file (PS3.10).

    Raises:
        Problem: it cannot be read, there is no such image, or there are too many downloads.
    """
    room = ExitStack()
    room.enter_context(portal.images.one(f"{caller.kind}/{caller.id}"))
    try:
        async with portal.database.unit() as unit:
            lying = await inbox.lying_one(unit.connection, caller.scope, share, uid)
            read = await reading.begin(
                unit, caller, share, "downloaded", "instance", images=1 if lying else 0
            )
        if isinstance(read, Problem):
            raise read
        if lying is None:
            raise not_found("image")
        pieces = whole_pieces(portal.payloads, lying.object_key, lying.instance.digest)
        told = _told(portal, caller, read, "instance")
        first = await begun(pieces, told)
    except BaseException:
        room.close()
        raise
    headers = {
        "Content-Type": "application/dicom",
        "Content-Disposition": f'attachment; filename="{uid}.dcm"',
    }
    return HandedOut(first, pieces, room, told, headers)


def _told(portal: Portal, caller: Caller, read: Reading, part: str, made: Archive | None = None) -> BrokenOff:
    """Keeps in the audit record that it was broken off, and how much of it had left."""

    async def told(reason: str) -> None:
        images = made.files if made is not None else 0
        async with portal.database.unit() as unit:
            reading.broken_off(unit, caller, read, part, images=images, reason=reason)

    return told


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
