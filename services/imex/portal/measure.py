"""Counts and times every request by its route, never by its path: paths hold identifiers."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imex.observability import names
from imex.observability.metrics import Metrics

UNKNOWN = "none"
"""The route of a request that fits none."""


class Measured:
    """Measures what passes through."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """`metrics` are the portal's own."""
        self._app = app
        self._requests = metrics.counter(names.PORTAL_REQUESTS)
        self._seconds = metrics.histogram(names.PORTAL_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", UNKNOWN)
            self._requests.labels(method=scope["method"], route=route, status=str(status)).inc()
            self._seconds.labels(route=route).observe(time.perf_counter() - started)
