"""The life cycle of a service: start in order, serve health, stop in reverse within a bound."""

import asyncio
import gc
import logging
import resource
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

import uvloop
from aiohttp import web

from imex.observability.logs import configure_logging
from imex.observability.metrics import Metrics
from imex.runtime.health import Component, Health
from imex.runtime.http import health_app
from imex.settings import HttpSettings, LogSettings

Compose = Callable[[Metrics], Sequence[Component]]
"""Makes a service's components, in the order in which they start."""


class Told(Protocol):
    """What every service is told from outside."""

    @property
    def log(self) -> LogSettings:
        """How much it says."""
        ...

    @property
    def http(self) -> HttpSettings:
        """Where it serves its health."""
        ...


log = logging.getLogger(__name__)

_STOP_EACH_S = 45.0
_COLLECT_EVERY = 5_000
"""Objects made and not yet freed before the youngest are looked through; Python's own 700 is for scripts."""
_STOP_REST_S = 15.0
_DESCRIPTORS = 65_536
"""Open files and connections; the 1,024 that many systems begin with are fewer than ingest may need."""


class App:
    """A service made of components."""

    def __init__(
        self,
        name: str,
        components: Sequence[Component],
        http: HttpSettings | None,
        metrics: Metrics | None = None,
    ) -> None:
        """`http` None: the service serves its health itself, from `healths` and `serving`."""
        self.name = name
        self.metrics = metrics or Metrics(name)
        self.port: int | None = None
        self._components = tuple(components)
        self._http = http
        self._runner: web.AppRunner | None = None
        self._started: list[Component] = []
        self._serving = False

    def healths(self) -> dict[str, Health]:
        """How every component is doing; one that has not started yet is not ready."""
        starting = Health(ready=False, detail="starting")
        return {each.name: each.health() if each in self._started else starting for each in self._components}

    def serving(self) -> bool:
        """Whether everything has started and nothing stops yet."""
        return self._serving

    async def start(self) -> None:
        """Serve health first, so that a slow start can be seen, then start the components in order."""
        if self._http is not None:
            runner = web.AppRunner(health_app(self.healths, self.serving, self.metrics), access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, self._http.host, self._http.port)
            await site.start()
            self._runner = runner
            self.port = runner.addresses[0][1]
        for component in self._components:
            log.debug("%s starts", component.name)
            await component.start()
            self._started.append(component)
        self._serving = True
        log.info("%s has started", self.name)

    async def stop(self) -> None:
        """Stop the components in reverse; none may hold up the others for ever."""
        self._serving = False
        try:
            longest = max(map(_stops_within, self._started), default=_STOP_EACH_S)
            async with asyncio.timeout(longest + _STOP_REST_S):
                for component in reversed(self._started):
                    await self._stop_one(component)
        except TimeoutError:
            log.error("%s did not stop in time", self.name)
        if self._runner is not None:
            await self._runner.cleanup()
        log.info("%s has stopped", self.name)

    async def _stop_one(self, component: Component) -> None:
        try:
            await asyncio.wait_for(component.stop(), _stops_within(component))
        except TimeoutError:
            log.warning("%s did not stop in time", component.name)
        except Exception:
            log.exception("%s failed to stop", component.name)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then stop in order."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        _spare_the_collector()
        waiting = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(self.start())
        await asyncio.wait([waiting, starting], return_when=asyncio.FIRST_COMPLETED)
        try:
            if not starting.done():
                starting.cancel()
                await asyncio.wait([starting], timeout=5.0)
            elif starting.exception() is None:
                await waiting
        finally:
            waiting.cancel()
            await self.stop()  # a second signal does not break it off: it is bounded
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if not starting.cancelled():
            starting.result()


def _take_descriptors() -> None:
    """Ask for as many as the system lets this process have, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _spare_the_collector() -> None:
    # What importing has made, some hundred thousand objects, lives as long as the process: the garbage
    # collector need not walk it again and again while records stream through.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 20)


def _stops_within(component: Component) -> float:
    """Seconds; a component that waits for others outside states its own `stop_within_s`."""
    stated: float | None = getattr(component, "stop_within_s", None)
    return max(stated or 0.0, _STOP_EACH_S)


async def run(
    name: str, components: Sequence[Component], http: HttpSettings | None, metrics: Metrics | None = None
) -> None:
    """Run a service until a signal; what a component's `start` raises ends it."""
    await App(name, components, http, metrics).run()


def main(name: str, settings: Told, compose: Compose) -> None:
    """Run a service on uvloop until SIGTERM or SIGINT; `compose` makes its parts inside the loop."""
    configure_logging(name, settings.log.level)
    _take_descriptors()

    async def composed() -> None:
        metrics = Metrics(name)
        await run(name, compose(metrics), settings.http, metrics)

    uvloop.run(composed())
