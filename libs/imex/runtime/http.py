"""/live, /ready and /metrics of a service."""

from collections.abc import Callable, Mapping

from aiohttp import web

from imex.observability.metrics import Metrics
from imex.runtime.health import Health


def health_app(
    healths: Callable[[], Mapping[str, Health]], serving: Callable[[], bool], metrics: Metrics
) -> web.Application:
    """A web application over the components' healths; `serving` is false while starting or stopping."""

    async def live(_request: web.Request) -> web.Response:
        return _answer(all(health.live for health in healths().values()), healths())

    async def ready(_request: web.Request) -> web.Response:
        found = healths()
        return _answer(serving() and all(h.live and h.ready for h in found.values()), found)

    async def exposition(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": metrics.content_type})

    application = web.Application()
    application.add_routes(
        [web.get("/live", live), web.get("/ready", ready), web.get("/metrics", exposition)]
    )
    return application


def _answer(good: bool, healths: Mapping[str, Health]) -> web.Response:
    parts = {
        name: {"live": health.live, "ready": health.ready, "detail": health.detail}
        for name, health in healths.items()
    }
    return web.json_response({"ok": good, "parts": parts}, status=200 if good else 503)
