"""The pages together."""

from fastapi import APIRouter

from imex.portal.pages import (
    commitments,
    corrections,
    deliveries,
    endpoints,
    inbox,
    network,
    notices,
    quarantine,
    requests,
    shares,
    sign_in,
    studies,
)


def pages_router() -> APIRouter:
    """Every page."""
    router = APIRouter(include_in_schema=False)
    for group in (
        sign_in,
        corrections,
        commitments,
        requests,
        shares,
        deliveries,
        inbox,
        quarantine,
        notices,
        studies,
        endpoints,
        network,
    ):
        router.include_router(group.router)
    return router
