"""A DICOMweb server in the test's own process: takes STOW-RS and answers QIDO-RS as a test says."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, MultipartReader, web
from pydicom import dcmread

from imex.dicom import dataset_digest

Answering = Callable[["StowServer", web.Request, list[str]], Awaitable[web.StreamResponse | None]]
"""From the SOP Instance UIDs of a request to another answer than that all are stored; None for that one."""


@dataclass
class StowServer:
    """What came, and how it is answered."""

    answering: Answering | None = None
    before: Callable[[web.Request], web.StreamResponse | None] | None = None
    """Asked when the request's head has come: its answer is given without reading the body."""
    keeps: bool = True
    hides: bool = False
    """What it keeps does not show in searches."""
    base: str = ""
    stored: dict[str, str] = field(default_factory=dict)
    """SOP Instance UID to the digest of its data set."""
    studies: dict[str, str] = field(default_factory=dict)
    requests: list[list[str]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    metas: list[tuple[str, str]] = field(default_factory=list)
    """Transfer syntax and source AE title of each file."""
    tokens: set[str] = field(default_factory=set)
    """Bearer tokens that are good; any where there are none."""
    tokens_given: list[dict[str, str]] = field(default_factory=list)
    searches: int = 0
    most_instances: int = 1000
    running: int = 0
    most_running: int = 0
    page: int = 1000

    def keep(self, files: Iterable[bytes]) -> list[str]:
        """Read files; their SOP Instance UIDs. Kept where `keeps` says so."""
        uids = []
        for file in files:
            dataset = dcmread(io.BytesIO(file), stop_before_pixels=True, force=True)
            uid = str(dataset.file_meta.MediaStorageSOPInstanceUID)
            uids.append(uid)
            meta = dataset.file_meta
            self.metas.append(
                (str(meta.TransferSyntaxUID), str(meta.get("SourceApplicationEntityTitle", "")))
            )
            if self.keeps:
                self.stored[uid] = dataset_digest(file)
                self.studies[uid] = str(dataset.get("StudyInstanceUID", ""))
        return uids

    async def store(self, request: web.Request) -> web.StreamResponse:
        """`POST …/studies`."""
        self.heads.append({name.lower(): value for name, value in request.headers.items()})
        if self.tokens and request.headers.get("Authorization", "")[7:] not in self.tokens:
            return web.Response(status=401)
        if self.before is not None and (early := self.before(request)) is not None:
            return early
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            files = []
            async for part in MultipartReader(request.headers, request.content):
                assert isinstance(part, BodyPartReader)
                assert part.headers["Content-Type"] == "application/dicom"
                files.append(bytes(await part.read()))
            if len(files) > self.most_instances:
                return web.Response(status=413)
            uids = self.keep(files)
            self.requests.append(uids)
            if (
                self.answering is not None
                and (other := await self.answering(self, request, uids)) is not None
            ):
                return other
            return answer(stored=dict.fromkeys(uids, 0))
        finally:
            self.running -= 1

    async def search(self, request: web.Request) -> web.StreamResponse:
        """`GET …/studies/{study}/instances`."""
        self.searches += 1
        if self.tokens and request.headers.get("Authorization", "")[7:] not in self.tokens:
            return web.Response(status=401)
        study = request.match_info["study"]
        found = sorted(uid for uid, its in self.studies.items() if its == study and not self.hides)
        offset = int(request.query.get("offset", "0"))
        page = found[offset : offset + min(self.page, int(request.query.get("limit", "1000")))]
        if not page:
            return web.Response(status=204)
        items = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in page]
        return web.Response(text=json.dumps(items), content_type="application/dicom+json")

    async def token(self, request: web.Request) -> web.StreamResponse:
        """`POST …/token`."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.tokens_given.append({**form, "authorization": request.headers.get("Authorization", "")})
        token = f"token-{len(self.tokens_given)}"
        self.tokens = {token}
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": 3600})


def answer(
    stored: dict[str, int] | None = None, failed: dict[str, int] | None = None, status: int | None = None
) -> web.Response:
    """A response that names instances; with warning and failure reasons, 0 for none."""
    told: dict[str, object] = {}
    for tag, reason_tag, ones in (("00081199", "00081196", stored), ("00081198", "00081197", failed)):
        if ones:
            told[tag] = {
                "vr": "SQ",
                "Value": [
                    {
                        "00081155": {"vr": "UI", "Value": [uid]},
                        **({reason_tag: {"vr": "US", "Value": [reason]}} if reason else {}),
                    }
                    for uid, reason in ones.items()
                ],
            }
    status = status or (200 if not failed else 202 if stored else 409)
    return web.Response(status=status, text=json.dumps(told), content_type="application/dicom+json")


@asynccontextmanager
async def stow_server(server: StowServer) -> AsyncIterator[StowServer]:
    """Listen on a free port of loopback."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/dicom-web/studies", server.store)
    app.router.add_get("/dicom-web/studies/{study}/instances", server.search)
    app.router.add_post("/token", server.token)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}/dicom-web"
    try:
        yield server
    finally:
        await asyncio.wait_for(runner.cleanup(), 10)
