"""WADO-RS (PS3.18 section 10.4): studies, series and instances as they are stored, and their metadata."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from typing import Final
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.responses import Response

from imex.dicomweb.elements import element
from imex.dicomweb.media import DICOM, DICOM_JSON, RELATED, MediaType, accepted, json_wanted
from imex.dicomweb.related import closing, part_head
from imex.portal.api.access import CallerPart, PortalPart
from imex.portal.archive import whole_pieces
from imex.portal.context import Portal
from imex.portal.dicomweb.asked import Asked, Progress, begin, told_of
from imex.portal.dicomweb.heads import METADATA_BYTES, heads_of
from imex.portal.dicomweb.search import Uid, view_for
from imex.portal.dicomweb.urls import base_url, instance_url, location
from imex.portal.problems import Problem
from imex.portal.queries import holdings
from imex.portal.queries.holdings import Amount, HeldInstance
from imex.portal.scope import Caller
from imex.portal.streaming import HandedOut, begun

router = APIRouter(tags=["dicomweb"])

PAGE: Final = 500
"""After so many images a retrieval asks again whether it may go on."""


@router.get("/studies/{study}", include_in_schema=False)
async def study_(request: Request, portal: PortalPart, caller: CallerPart, study: Uid) -> Response:
    """All images of a study."""
    return await _images(request, portal, caller, Asked(study))


@router.get("/studies/{study}/metadata", include_in_schema=False)
async def study_metadata(request: Request, portal: PortalPart, caller: CallerPart, study: Uid) -> Response:
    """Their headers."""
    return await _metadata(request, portal, caller, Asked(study))


@router.get("/studies/{study}/series/{series}", include_in_schema=False)
async def series_(
    request: Request, portal: PortalPart, caller: CallerPart, study: Uid, series: Uid
) -> Response:
    """All images of a series."""
    return await _images(request, portal, caller, Asked(study, series))


@router.get("/studies/{study}/series/{series}/metadata", include_in_schema=False)
async def series_metadata(
    request: Request, portal: PortalPart, caller: CallerPart, study: Uid, series: Uid
) -> Response:
    """Their headers."""
    return await _metadata(request, portal, caller, Asked(study, series))


@router.get("/studies/{study}/series/{series}/instances/{instance}", include_in_schema=False)
async def instance_(  # noqa: PLR0917  what the path names
    request: Request, portal: PortalPart, caller: CallerPart, study: Uid, series: Uid, instance: Uid
) -> Response:
    """One image."""
    return await _images(request, portal, caller, Asked(study, series, instance))


@router.get("/studies/{study}/series/{series}/instances/{instance}/metadata", include_in_schema=False)
async def instance_metadata(  # noqa: PLR0917  what the path names
    request: Request, portal: PortalPart, caller: CallerPart, study: Uid, series: Uid, instance: Uid
) -> Response:
    """Its header."""
    return await _metadata(request, portal, caller, Asked(study, series, instance))


async def _pages(portal: Portal, caller: Caller, asked: Asked) -> AsyncGenerator[list[HeldInstance], None]:
    """Page by page what the caller may have by then: what is taken back meanwhile goes no further."""
    after = ("", "")
    while True:
        async with portal.database.unit() as unit:
            view = await view_for(unit, caller)
            narrow = await asked.narrowed(unit, view)
            page = await holdings.found_instances(unit.connection, view, narrow, limit=PAGE, after=after)
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = (page[-1].series_uid, page[-1].sop_instance_uid)


async def _metadata(request: Request, portal: Portal, caller: Caller, asked: Asked) -> Response:
    if not json_wanted(request.headers.get("accept", "")):
        raise Problem(406, f"Metadata is answered in {DICOM_JSON}. Accept that.")
    room = ExitStack()
    rooms = portal.headers if asked.instance is None else portal.images
    room.enter_context(rooms.one(f"{caller.kind}/{caller.id}"))
    try:
        part = "metadata by wado-rs"
        found = await begin(portal, caller, asked, "opened", part)
        progress = Progress(found[0])
        pieces = _headers(portal, caller, asked, base_url(request, portal), progress)
        told = told_of(portal, caller, progress, "opened", part)
        return HandedOut(await begun(pieces, told), pieces, room, told, {"Content-Type": DICOM_JSON})
    except BaseException:
        room.close()
        raise


async def _headers(
    portal: Portal, caller: Caller, asked: Asked, base: str, progress: "Progress"
) -> AsyncGenerator[bytes, None]:
    """A JSON array, header by header."""
    before = b"["
    async with aclosing(_pages(portal, caller, asked)) as pages:
        async for page in pages:
            index = 0
            async for head in heads_of(portal.payloads, page, METADATA_BYTES):
                one = page[index]
                index += 1
                url = instance_url(base, one.study_uid, one.series_uid, one.sop_instance_uid)
                told = head | {"00081190": element("UR", url)}
                yield before + json.dumps(told, allow_nan=False).encode()
                before = b","
                progress.images += 1
    yield b"]" if before == b"," else b"[]"


async def _images(request: Request, portal: Portal, caller: Caller, asked: Asked) -> Response:
    form = _form(request.headers.get("accept", ""), single=asked.instance is not None)
    room = ExitStack()
    room.enter_context(portal.retrievals.one(f"{caller.kind}/{caller.id}"))
    try:
        found = await begin(portal, caller, asked, "downloaded", "wado-rs")
        _syntax_fits(form, found)
        boundary = uuid4().hex if form.name == RELATED else None
        progress = Progress(found[0])
        pieces = _bodies(portal, caller, asked, progress, boundary)
        kind = f'{RELATED}; type="{DICOM}"; boundary={boundary}' if boundary else DICOM
        told = told_of(portal, caller, progress, "downloaded", "wado-rs")
        return HandedOut(await begun(pieces, told), pieces, room, told, {"Content-Type": kind})
    except BaseException:
        room.close()
        raise


def _form(accept: str, *, single: bool) -> MediaType:
    """The form of the answer. Raises Problem (406) where what is accepted is not spoken here."""
    for wanted in accepted(accept):
        if wanted.name in {"*/*", "multipart/*"} or (
            wanted.name == RELATED and wanted.part in {"", "*/*", DICOM}
        ):
            return MediaType(RELATED, {"transfer-syntax": wanted.parameters.get("transfer-syntax", "*")})
        if single and wanted.name in {DICOM, "application/*"}:
            return MediaType(DICOM, {"transfer-syntax": wanted.parameters.get("transfer-syntax", "*")})
    words = f'Images are retrieved as they are stored: accept {RELATED}; type="{DICOM}"; transfer-syntax=*'
    raise Problem(406, f"{words}." + (f" One instance also as {DICOM}." if single else ""))


def _syntax_fits(form: MediaType, found: Sequence[Amount]) -> None:
    wanted = form.parameters["transfer-syntax"]
    stored = sorted({one.transfer_syntax for one in found})
    if wanted not in {"*", ""} and stored != [wanted]:
        raise Problem(
            406,
            f"Nothing is transcoded here: it is stored in {', '.join(stored[:8])}. Accept transfer-syntax=*.",
        )


async def _bodies(
    portal: Portal, caller: Caller, asked: Asked, progress: Progress, boundary: str | None
) -> AsyncGenerator[bytes, None]:
    """The body; one that breaks off has no end of its own."""
    async with aclosing(_pages(portal, caller, asked)) as pages:
        async for page in pages:
            for held in page:
                async with aclosing(_part(portal, held, boundary, first=not progress.images)) as pieces:
                    async for piece in pieces:
                        yield piece
                progress.images += 1
    if boundary is not None:
        yield closing(boundary)


async def _part(
    portal: Portal, held: HeldInstance, boundary: str | None, *, first: bool
) -> AsyncGenerator[bytes, None]:
    """One stored file, as a part or as the whole answer."""
    head = b""
    if boundary is not None:
        kind = f"{DICOM}; transfer-syntax={held.transfer_syntax}"
        head = part_head(boundary, kind, first=first, headers={"Content-Location": location(held)})
    async with aclosing(whole_pieces(portal.payloads, held.object_key, held.digest)) as pieces:
        async for piece in pieces:
            yield head + piece if head else piece
            head = b""
