"""The application: API, pages, static files and probes on one port."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from imex.portal import errors, probes
from imex.portal.api.router import PREFIX, api_router
from imex.portal.context import Portal
from imex.portal.dicomweb.router import dicomweb_router
from imex.portal.guard import RequestGuard
from imex.portal.headers import SecurityHeaders
from imex.portal.measure import Measured
from imex.portal.pages.router import pages_router
from imex.portal.pages.templates import templates
from imex.portal.parts import Part, running

_HERE = Path(__file__).parent

_DESCRIPTION = """\
Send studies from one institution to another and see what became of them.

Every call needs a bearer token and sees what the token's institution sends or receives. Errors are
RFC 9457 problem details. Lists answer `items` and `next`; pass `next` as `after` for the following page.
"""


def create_app(portal: Portal, parts: Sequence[Part] = ()) -> FastAPI:
    """The application over `portal`; `parts` run as long as it does."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with running(parts):
            yield

    app = FastAPI(
        title="Imex",
        version="1",
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.portal = portal
    app.state.components = tuple(parts)
    app.state.templates = templates(portal.settings)
    app.add_middleware(RequestGuard)
    app.add_middleware(SecurityHeaders, secure=not portal.settings.local)
    app.add_middleware(Measured, metrics=portal.metrics)
    errors.install(app)
    app.include_router(api_router())
    app.include_router(dicomweb_router())
    app.include_router(probes.router)
    app.include_router(pages_router())
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    return app
