"""The routes under `/dicom-web`."""

from fastapi import APIRouter

from imex.portal.dicomweb import frames, retrieve, search, store
from imex.portal.dicomweb.urls import PREFIX


def dicomweb_router() -> APIRouter:
    """Everything under `/dicom-web`."""
    router = APIRouter(prefix=PREFIX)
    for part in (store, search, retrieve, frames):
        router.include_router(part.router)
    return router
