"""The listener: a statement of the portal, room for one more sender, and then the body."""

import asyncio
import time
from collections.abc import Callable

import structlog
from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from imex.dicomweb.media import media_type
from imex.dicomweb.outcome import RETRY_AFTER_S
from imex.dicomweb.statement import Statement, StatementReader, StatementRefused
from imex.ingest.limits.limiter import Overfull
from imex.ingest.ports import Surroundings
from imex.ingest.settings import StowSettings
from imex.ingest.stow.pace import BodySlow, Pace
from imex.ingest.stow.request import BodyNotTaken, Reader, StoreTransaction, reader_of
from imex.runtime.health import Health

log = structlog.get_logger(__name__)

_AFTER_DRAIN_S = 15.0
_MOST_HEADER_BYTES = 16 * 1024
SENDER_HEADER = "X-Imex-Sender"
_GONE = (ConnectionError, ClientPayloadError, HttpProcessingError)
"""What reading a body raises when its sender goes away, or its framing breaks."""


class _Busy(Exception):
    """There is no room now; in words."""


class StowServer:
    """A component: unready while it starts and while it drains."""

    name = "stow"

    def __init__(
        self,
        settings: StowSettings,
        around: Surroundings,
        drain_s: float,
        *,
        shared: bool,
        pace: Pace | None = None,
    ) -> None:
        """`shared`: several processes listen on the port. Raises ValueError where there is no secret."""
        self._settings = settings
        self._around = around
        self._drain_s = drain_s
        self._shared = shared
        self._pace = pace or Pace()
        self.stop_within_s = drain_s + _AFTER_DRAIN_S
        self._reader = StatementReader(settings.secret.get_secret_value())
        self._runner: web.AppRunner | None = None
        self._open: set[asyncio.Task[web.Response]] = set()
        self._detail = "starting"
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        application = web.Application()
        application.router.add_post("/studies", self._store)
        application.router.add_post("/studies/{study}", self._store)
        runner = web.AppRunner(
            application, access_log=None, max_line_size=_MOST_HEADER_BYTES, max_field_size=_MOST_HEADER_BYTES
        )
        await runner.setup()
        settings = self._settings
        site = web.TCPSite(runner, settings.host, settings.port or 0, reuse_port=self._shared or None)
        await site.start()
        self._runner = runner
        self.port = runner.addresses[0][1]
        self._detail = ""

    async def stop(self) -> None:
        """Take no new requests, let those that are open finish, then cut the rest off."""
        self._detail = "draining"
        if self._runner is None:
            return
        for site in list(self._runner.sites):
            await site.stop()
        if self._open:
            await asyncio.wait(self._open, timeout=self._drain_s)
        for task in self._open:
            task.cancel()
        await self._runner.cleanup()

    def health(self) -> Health:
        """Ready while it takes requests, whatever the store and the broker do."""
        return Health(ready=not self._detail, detail=self._detail)

    async def _store(self, request: web.Request) -> web.Response:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            return await self._admitted(request)
        except BodyNotTaken as refused:
            return _problem(refused.status, str(refused))
        except BodySlow:
            return _problem(408, f"The body brought next to nothing for {self._pace.seconds:.0f} seconds.")
        except _GONE:
            return _problem(400, "The body ended before its end.")
        finally:
            self._open.discard(task)

    async def _admitted(self, request: web.Request) -> web.Response:
        try:
            statement = self._statement(request)
        except StatementRefused as error:
            log.warning("store transaction refused", reason=str(error), peer=request.remote)
            return _problem(401, f"The statement of the portal was not believed: {error}.")
        reader = reader_of(media_type(request.headers.get("Content-Type", "")))
        index = self._around.directory()
        if index is not None and statement.institution not in index.institutions:
            return _problem(403, "The institution of this token is not in the directory.")
        try:
            leave = await self._entered(statement.institution)
        except _Busy as busy:
            return _problem(503, f"{busy} Send again later.", {"Retry-After": str(RETRY_AFTER_S)})
        return await self._taken(request, statement, reader, leave)

    async def _entered(self, institution: str) -> Callable[[], None]:
        """Let it in beside the institution's associations; what is returned is called at its end."""
        around = self._around
        if around.directory() is None:
            raise _Busy("Ingest has no directory yet.")
        if self._detail or len(self._open) > self._settings.requests:
            raise _Busy("Too many store transactions are under way.")
        crowded = around.traffic.crowded(institution)
        if crowded is not None:
            around.limit_meters.refused(crowded[0], crowded[1], institution)
            raise _Busy(f"The limit of {crowded[0]} ({crowded[1]}) is reached.")
        try:
            return await around.doors.enter(institution)
        except Overfull as full:
            around.limit_meters.refused("associations", full.scope, institution)
            raise _Busy(f"The limit of associations and requests ({full.scope}) is reached.") from None

    async def _taken(
        self, request: web.Request, statement: Statement, reader: Reader, leave: Callable[[], None]
    ) -> web.Response:
        address = request.headers.get(SENDER_HEADER, "")[:64]
        try:
            transaction = StoreTransaction(self._around, statement, address, self._pace)
            result = await transaction.take(request.content, reader)
        finally:
            leave()
        return web.Response(text=result.model_dump_json(), content_type="application/json")

    def _statement(self, request: web.Request) -> Statement:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise StatementRefused("there is none")
        return self._reader.read(
            encoded.strip(),
            request.match_info.get("study", ""),
            request.headers.get("Content-Type", ""),
            time.time(),
        )


def _problem(status: int, words: str, headers: dict[str, str] | None = None) -> web.Response:
    """An answer before the body was read to its end: the connection goes with it."""
    response = web.json_response({"detail": words}, status=status, headers=headers)
    response.force_close()
    return response
