"""The API's routes together."""

from fastapi import APIRouter, Depends

from imex.portal.api import (
    audit_trail,
    commitments,
    corrections,
    dead_letters,
    deliveries,
    directory,
    endpoints,
    events,
    health,
    holds,
    identifiers,
    identities,
    inbox,
    institutions,
    keys,
    marks,
    notices,
    quarantine,
    reconcile,
    requests,
    rules,
    share_commands,
    shares,
    studies,
    subjects,
    tokens,
)
from imex.portal.api.access import known_parameters

PREFIX = "/api/v1"


def api_router() -> APIRouter:
    """Every resource under `/api/v1`."""
    router = APIRouter(prefix=PREFIX, dependencies=[Depends(known_parameters)])
    for part in (
        corrections,  # before the commands of shares, one of which it is
        shares,
        share_commands,
        inbox,
        studies,
        events,
        institutions,
        keys,
        identifiers,
        identities,
        marks,
        subjects,
        holds,
        requests,
        commitments,
        rules,
        quarantine,
        notices,
        deliveries,
        endpoints,
        directory,
        tokens,
        audit_trail,
        health,
        dead_letters,
        reconcile,
    ):
        router.include_router(part.router)
    return router
