"""WADO-RS for single frames (PS3.18 sections 10.4.1.1.6 and 8.7.3): as they are stored, one by one."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Annotated, Final, cast
from uuid import uuid4

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from imex.dicom import encoding_of
from imex.dicomweb.frames import (
    Frame,
    NotInFrames,
    encapsulated_frames,
    frames_of,
    image_type,
    native_frames,
)
from imex.dicomweb.media import RELATED, MediaType, accepted
from imex.dicomweb.related import closing, part_head
from imex.portal.api.access import CallerPart, PortalPart
from imex.portal.archive import Broken, Gone
from imex.portal.context import Portal
from imex.portal.dicomweb.asked import Asked, Progress, begin, told_of
from imex.portal.dicomweb.heads import METADATA_BYTES, reader_of
from imex.portal.dicomweb.search import Uid, view_for
from imex.portal.dicomweb.urls import location
from imex.portal.problems import Problem, not_found
from imex.portal.queries import holdings
from imex.portal.queries.holdings import HeldInstance
from imex.portal.scope import Caller
from imex.portal.streaming import HandedOut, begun
from imex.storage import ObjectNotFound

router = APIRouter(tags=["dicomweb"])

OCTETS: Final = "application/octet-stream"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
MOST_FRAMES: Final = 1000
"""That one request names."""
_PART: Final = "frames by wado-rs"

Numbers = Annotated[str, Path(min_length=1, max_length=8192, pattern=r"^[0-9]{1,9}(,[0-9]{1,9})*$")]


@router.get("/studies/{study}/series/{series}/instances/{instance}/frames/{numbers}", include_in_schema=False)
async def frames(  # noqa: PLR0917  what the path names
    request: Request,
    portal: PortalPart,
    caller: CallerPart,
    study: Uid,
    series: Uid,
    instance: Uid,
    numbers: Numbers,
) -> Response:
    """Frames of one image, in the order of their numbers."""
    named = numbers.split(",")
    wanted = sorted({int(number) for number in named[:MOST_FRAMES]})
    if len(named) > MOST_FRAMES or wanted[0] < 1:
        raise Problem(400, f"Frames are numbers from 1 on with commas between, {MOST_FRAMES} at most.")
    asked = Asked(study, series, instance)
    room = ExitStack()
    room.enter_context(portal.images.one(f"{caller.kind}/{caller.id}"))
    try:
        found = await begin(portal, caller, asked, "opened", _PART)
        held = await _held(portal, caller, asked)
        form = _form(request.headers.get("accept", ""), held.transfer_syntax, single=len(wanted) == 1)
        pixels = await _pixels(portal, held, wanted)
        progress = Progress(found[0])
        boundary = uuid4().hex if form.boundary else None
        pieces = _parts(_cut(portal, pixels, wanted), len(wanted), held, form, boundary, progress)
        kind = f'{RELATED}; type="{form.name}"; boundary={boundary}' if boundary else form.part
        told = told_of(portal, caller, progress, "opened", _PART)
        return HandedOut(await begun(pieces, told), pieces, room, told, {"Content-Type": kind})
    except BaseException:
        room.close()
        raise


async def _held(portal: Portal, caller: Caller, asked: Asked) -> HeldInstance:
    async with portal.database.unit() as unit:
        view = await view_for(unit, caller)
        narrow = await asked.narrowed(unit, view)
        found = await holdings.found_instances(unit.connection, view, narrow, limit=1)
    if not found:
        raise not_found("instance")
    return found[0]


@dataclass(frozen=True, slots=True)
class _Form:
    """How frames are told: as parts of an answer or as all of it, and of which media type."""

    name: str
    transfer_syntax: str
    boundary: bool

    @property
    def part(self) -> str:
        """The Content-Type of one frame."""
        return f"{self.name}; transfer-syntax={self.transfer_syntax}"


def _form(accept: str, stored: str, *, single: bool) -> _Form:
    """The form of the answer. Raises Problem (406) where what is accepted is not how it is stored."""
    encoding, image = encoding_of(stored), image_type(stored)
    if encoding.deflated or encoding.big_endian:
        raise Problem(406, f"It is stored in {stored}, of which no single frames are served. Take it whole.")
    syntax = stored if encoding.encapsulated else EXPLICIT
    for wanted in accepted(accept):
        name = _fitting(wanted, syntax, image if encoding.encapsulated else "", encoding.encapsulated)
        related = wanted.name in {RELATED, "multipart/*", "*/*"}
        if name and (related or single):
            return _Form(name, syntax, boundary=related)
    kind = image or OCTETS
    words = f'Nothing is decoded here, and it is stored in {stored}: accept {RELATED}; type="{kind}"'
    raise Problem(406, f"{words}; transfer-syntax={syntax}.")


def _fitting(wanted: MediaType, syntax: str, image: str, encapsulated: bool) -> str:
    """The media type of frames that is accepted; empty where it is none that there is."""
    asked = wanted.parameters.get("transfer-syntax", "")
    part = wanted.part if wanted.name == RELATED else wanted.name
    if part in {"", "*/*", "multipart/*"}:
        return (image or OCTETS) if asked in {"", "*", syntax} else ""
    if image and part == image and asked in {"", "*", syntax}:
        return image
    # octets without a syntax are Explicit VR Little Endian (PS3.18 section 8.7.3.3.2)
    if part == OCTETS and asked in ({"*", syntax} if encapsulated else {"", "*", syntax}):
        return OCTETS
    return ""


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Where an image's pixel data is."""

    held: HeldInstance
    at: int
    frames: int
    native: Sequence[Frame] | None


async def _pixels(portal: Portal, held: HeldInstance, wanted: Sequence[int]) -> _Pixels:
    try:
        reader = await reader_of(portal.payloads, held, METADATA_BYTES)
    except ObjectNotFound:
        raise Problem(410, "It is not in the store any more. Ask for the study again.") from None
    dataset = reader.read()
    if reader.pixel_value is None:
        raise Problem(404, "It has no pixel data, or none that is found in its first 8 MiB.")
    count = frames_of(dataset)
    if wanted[-1] > count:
        raise Problem(404, f"It has {count} frames.")
    native = None
    if not encoding_of(held.transfer_syntax).encapsulated:
        try:
            native = native_frames(dataset, wanted, reader.pixel_length)
        except NotInFrames as error:
            raise Problem(409, f"No single frames of it are served: {error}. Take it whole.") from error
    return _Pixels(held, reader.pixel_value, count, native)


async def _cut(
    portal: Portal, pixels: _Pixels, wanted: Sequence[int]
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Bytes of the frames that are wanted, in their order; none is ever held whole."""
    try:
        if pixels.native is not None:
            for number, frame in zip(wanted, pixels.native, strict=True):
                async for piece in _run(portal, pixels.held, pixels.at + frame.start, frame.length):
                    yield number, piece
            return
        found = _stream(portal, pixels.held, pixels.at)
        async with aclosing(found):
            syntax = pixels.held.transfer_syntax
            async with aclosing(encapsulated_frames(found, syntax, pixels.frames)) as cutting:
                async for number, piece in cutting:
                    if number > wanted[-1]:
                        return
                    if number in wanted:
                        yield number, piece
    except ObjectNotFound:
        raise Gone("an image is not in the store any more") from None
    except NotInFrames as error:
        raise Broken(str(error)) from error


async def _run(portal: Portal, held: HeldInstance, start: int, length: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(_stream(portal, held, start)) as pieces:
        async for piece in pieces:
            yield piece[:length]
            length -= min(len(piece), length)
            if not length:
                return
    raise Broken("its pixel data is cut short")


def _stream(portal: Portal, held: HeldInstance, start: int) -> AsyncGenerator[bytes, None]:
    return cast("AsyncGenerator[bytes, None]", portal.payloads.stream(held.object_key, start))


async def _parts(  # noqa: PLR0917  what one answer is made of
    cutting: AsyncGenerator[tuple[int, bytes], None],
    wanted: int,
    held: HeldInstance,
    form: _Form,
    boundary: str | None,
    progress: Progress,
) -> AsyncGenerator[bytes, None]:
    """The body, which breaks off where a frame is missing."""
    before = frames = 0
    async with aclosing(cutting):
        async for number, piece in cutting:
            head = b""
            if number != before:
                before, frames = number, frames + 1
                if boundary is not None:
                    where = {"Content-Location": f"{location(held)}/frames/{number}"}
                    head = part_head(boundary, form.part, first=frames == 1, headers=where)
            yield head + piece
    if frames < wanted:
        raise Broken("its pixel data has fewer frames than its header says")
    progress.images = 1
    if boundary is not None:
        yield closing(boundary)
