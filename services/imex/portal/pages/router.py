"""The pages together."""

from fastapi import APIRouter

<<<<<<< HEAD
from imex.portal.pages import endpoints, inbox, network, notices, quarantine, shares, sign_in, studies
=======
from imex.portal.pages import deliveries, endpoints, network, notices, quarantine, shares, sign_in, studies
>>>>>>> 8ed120b (Deliveries and destinations are paused, resumed and rerouted: API, command line, pages, timeline)


def pages_router() -> APIRouter:
    """Every page."""
    router = APIRouter(include_in_schema=False)
<<<<<<< HEAD
    for group in (sign_in, shares, inbox, quarantine, notices, studies, endpoints, network):
=======
    for group in (sign_in, shares, deliveries, quarantine, notices, studies, endpoints, network):
>>>>>>> 8ed120b (Deliveries and destinations are paused, resumed and rerouted: API, command line, pages, timeline)
        router.include_router(group.router)
    return router
