"""/live, /ready and /metrics, for whoever runs the portal."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from imex.portal.context import portal_of
from imex.portal.parts import Part

router = APIRouter(include_in_schema=False)

PING_TIMEOUT_S = 3.0


@router.get("/live")
async def live(request: Request) -> Response:
    """200 while the portal's parts run; anything else asks for a restart."""
    dead = [part.name for part in _parts(request) if not part.health().live]
    return JSONResponse({"live": not dead, "stopped": dead}, 503 if dead else 200)


@router.get("/ready")
async def ready(request: Request) -> Response:
    """200 when a request can be answered, which needs the database. Kafka may be away: commands wait."""
    checks: dict[str, str] = {}
    try:
        async with asyncio.timeout(PING_TIMEOUT_S):
            await portal_of(request).database.ping()
    except (SQLAlchemyError, OSError, TimeoutError):
        checks["database"] = "cannot be reached"
    notes = {part.name: detail for part in _parts(request) if (detail := part.health().detail)}
    return JSONResponse({"ready": not checks, "problems": checks, "notes": notes}, 503 if checks else 200)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus text."""
    found = portal_of(request).metrics
    return Response(found.render(), headers={"content-type": found.content_type})


def _parts(request: Request) -> Sequence[Part]:
    found: Sequence[Part] = getattr(request.app.state, "components", ())
    return found
