"""A simulated DICOMweb server: STOW-RS and QIDO-RS (PS3.18), on aiohttp."""

import asyncio
import contextlib
import hashlib
import json
import logging
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

import pydicom
from aiohttp import BodyPartReader, MultipartReader, web
from pydicom import Dataset

from imex.dicom.part10 import dataset_offset
from imex.simulation.dicom_node import keep
from imex.simulation.failures import Failure
from imex.simulation.hang_up import hung_up
from imex.simulation.misbehaviour import Misbehaviour
from imex.simulation.options import Options
from imex.simulation.queries import entities, matches
from imex.simulation.shelf import Arrived, Shelf

JSON: Final = "application/dicom+json"
_REFUSALS: Final = frozenset(
    {"unauthorised", "forbidden", "too-large", "unsupported", "too-many", "error-500", "unavailable"}
)
_WAITS: Final = frozenset({429, 503})
_PIECE: Final = 64 * 1024
_IN_MEMORY: Final = 4 << 20
_META_BYTES: Final = 64 * 1024
_CONFLICT: Final = 0xA900
_LOOK_S: Final = 0.05


@dataclass(slots=True)
class Stored:
    """What the answer to one STOW-RS request lists."""

    held: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str, int]] = field(default_factory=list)
    struck: dict[str, Failure] = field(default_factory=dict)


class WebNode:
    """Listens until it is closed."""

    def __init__(self, options: Options, misbehaviour: Misbehaviour, shelf: Shelf) -> None:
        """Nothing listens yet."""
        self._options = options
        self._misbehaviour = misbehaviour
        self._shelf = shelf
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; the port."""
        app = web.Application(client_max_size=0)
        base = self._options.base.rstrip("/")
        app.router.add_post(f"{base}/studies", self._stow)
        app.router.add_post(f"{base}/studies/{{study}}", self._stow)
        app.router.add_get(f"{base}/studies", self._studies)
        app.router.add_get(f"{base}/series", self._series)
        app.router.add_get(f"{base}/instances", self._instances)
        app.router.add_get(f"{base}/studies/{{study}}/series", self._series)
        app.router.add_get(f"{base}/studies/{{study}}/instances", self._instances)
        app.router.add_get(f"{base}/studies/{{study}}/series/{{series}}/instances", self._instances)
        app.router.add_route("OPTIONS", base + "/{rest:.*}", self._options_of)
        quiet = logging.getLogger(f"{__name__}.requests")
        quiet.setLevel(logging.CRITICAL)  # that a connection is cut is what was asked for
        self._runner = web.AppRunner(
            app, access_log=None, logger=quiet, read_bufsize=_PIECE, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self._options.host, self._options.port, ssl_context=self._options.tls
        )
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _options_of(self, _: web.Request) -> web.Response:
        return web.Response(status=200, headers={"Allow": "GET, POST, OPTIONS"})

    async def _stow(self, request: web.Request) -> web.StreamResponse:
        struck = self._misbehaviour.occasion("association")
        if "stall-accept" in struck:
            self._shelf.associations["never answered"] += 1
            await _until_gone(request)
        refusal = next((one for name, one in struck.items() if name in _REFUSALS), None)
        if refusal is not None:
            self._shelf.associations["rejected"] += 1
            return self._refused(refusal)
        self._shelf.associations["accepted"] += 1
        stored = Stored()
        try:
            parts = MultipartReader(request.headers, request.content)
            while (part := await parts.next()) is not None:
                if isinstance(part, BodyPartReader):
                    await self._part(request, part, stored)
        except (ValueError, AssertionError):
            return web.Response(status=400, text="the body is not multipart/related")
        if "close-after-data" in stored.struck:
            _cut(request)
        if "stall-response" in stored.struck:
            await _until_gone(request)
        if "slow-response" in stored.struck:
            await asyncio.sleep(self._options.delay_s)
        if "empty-answer" in struck:
            return web.Response(status=200)
        return self._answer(request, stored)

    def _refused(self, failure: Failure) -> web.Response:
        headers = {"Retry-After": str(self._options.retry_after_s)} if failure.status in _WAITS else {}
        if failure.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="simulated"'
        return web.Response(status=failure.status, headers=headers, text=failure.name)

    async def _part(self, request: web.Request, part: BodyPartReader, stored: Stored) -> None:
        struck = self._misbehaviour.occasion("instance")
        stored.struck |= struck
        if "stall-data" in struck:
            await _until_gone(request)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            file = cast("BinaryIO", spool)
            await self._receive(part, file, slow="slow-reader" in struck)
            arrived = _arrived(file)
            if arrived is None:
                stored.failed.append(("", "", 0xC000))
                return
            self._judge(arrived, struck, stored)

    def _judge(self, arrived: Arrived, struck: Mapping[str, Failure], stored: Stored) -> None:
        sop_class, uid = arrived.sop_class_uid, arrived.sop_instance_uid
        tally = self._shelf.tally(uid)
        tally.received += 1
        failed = 0x0110 if "some-failed" in struck else _CONFLICT if "conflict" in struck else 0
        if failed:
            tally.answers[f"{failed:04X}"] += 1
            stored.failed.append((sop_class, uid, failed))
            return
        tally.answers["stored"] += 1
        if "lose" not in struck:
            keep(self._shelf, arrived, struck, self._options.delay_s)
        told = f"2.25.{uuid.uuid4().int}" if "wrong-instance" in struck else uid
        stored.held.append((sop_class, told))

    async def _receive(self, part: BodyPartReader, file: BinaryIO, *, slow: bool) -> None:
        step = max(1, round(self._options.rate / 10)) if slow else _PIECE
        while piece := await part.read_chunk(step):
            file.write(piece)
            if slow:
                await asyncio.sleep(len(piece) / self._options.rate)

    def _answer(self, request: web.Request, stored: Stored) -> web.Response:
        """The Store Instances Response Module (PS3.18 table I.2-1)."""
        answer = Dataset()
        if stored.held:
            answer.ReferencedSOPSequence = [self._reference(request, *one) for one in stored.held]
        if stored.failed:
            items = []
            for sop_class, uid, reason in stored.failed:
                item = Dataset()
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
                item.FailureReason = reason
                items.append(item)
            answer.FailedSOPSequence = items
        status = 200 if not stored.failed else 202 if stored.held else 409
        if not stored.held and any(reason == 0x0110 for _, _, reason in stored.failed):
            status = 202
        return web.Response(status=status, text=json.dumps(answer.to_json_dict()), content_type=JSON)

    def _reference(self, request: web.Request, sop_class: str, uid: str) -> Dataset:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        item.RetrieveURL = f"{request.url.origin()}{self._options.base}/instances/{uid}"
        return item

    async def _studies(self, request: web.Request) -> web.Response:
        return await self._query(request, "STUDY")

    async def _series(self, request: web.Request) -> web.Response:
        return await self._query(request, "SERIES")

    async def _instances(self, request: web.Request) -> web.Response:
        return await self._query(request, "IMAGE")

    async def _query(self, request: web.Request, level: str) -> web.Response:
        if self._misbehaviour.standing("find-none"):
            return web.Response(status=501, text="queries are not supported")
        struck = self._misbehaviour.occasion("query")
        if "find-stalls" in struck:
            await _until_gone(request)
        if "find-fails" in struck:
            return web.Response(status=500, text="find-fails")
        wanted = Dataset()
        wanted.QueryRetrieveLevel = level
        keys = dict(request.query)
        for name, keyword in (("study", "StudyInstanceUID"), ("series", "SeriesInstanceUID")):
            if name in request.match_info:
                keys[keyword] = request.match_info[name]
        for name, value in keys.items():
            with contextlib.suppress(Exception):  # includefield, limit and what is unknown match everything
                _set(wanted, name, value)
        found = [one for one in entities(level, self._shelf.visible()) if matches(wanted, one)]
        limit, offset = int(keys.get("limit", 10_000)), int(keys.get("offset", 0))
        page = found[offset : offset + limit]
        if not page:
            return web.Response(status=204)
        return web.Response(text=json.dumps([one.to_json_dict() for one in page]), content_type=JSON)


def _set(wanted: Dataset, name: str, value: str) -> None:
    """An attribute by keyword or by its tag in eight hexadecimal digits (PS3.18 8.3.4)."""
    tag = pydicom.tag.Tag(int(name, 16)) if len(name) == 8 and name.isalnum() else pydicom.tag.Tag(name)
    keyword = pydicom.datadict.keyword_for_tag(tag)
    setattr(wanted, keyword, value.split(",") if keyword.endswith("UID") and "," in value else value)


def _arrived(file: BinaryIO) -> Arrived | None:
    """A Part-10 file as it arrived; None for what is none."""
    file.seek(0)
    head = file.read(_META_BYTES)
    try:
        offset = dataset_offset(head)
        file.seek(0)
        read = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "SOPClassUID"])
    except Exception:  # noqa: BLE001  whatever pydicom raises for what is no DICOM
        return None
    if not offset:
        return None
    digest = hashlib.sha256()
    file.seek(offset)
    rest = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
    while piece := file.read(_PIECE):
        digest.update(piece)
        rest.write(piece)
    return Arrived(
        str(read.get("SOPClassUID", "")),
        str(read.get("SOPInstanceUID", "")),
        str(read.file_meta.TransferSyntaxUID),
        f"sha256:{digest.hexdigest()}",
        cast("BinaryIO", rest),
    )


async def _until_gone(request: web.Request) -> None:
    """Say nothing until the other side has gone."""
    transport = request.transport
    while transport is not None and not transport.is_closing():
        if hung_up(transport.get_extra_info("socket")):
            break
        await asyncio.sleep(_LOOK_S)
    raise ConnectionResetError("the client has gone")


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("cut, as told")
