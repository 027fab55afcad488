"""/health: how the network is doing."""

from fastapi import APIRouter

from imex.portal import health
from imex.portal.api.access import CallerPart, PortalPart

router = APIRouter(tags=["health"])


@router.get("/health")
async def get_health(portal: PortalPart, caller: CallerPart) -> health.NetworkHealth:
    """Every service's readiness, what waits to be published, and what waits for people or destinations."""
    return await health.look(portal, caller.scope)
