"""The routes under `/dicom-web`."""

from fastapi import APIRouter

from imex.portal.dicomweb import store
from imex.portal.dicomweb.urls import PREFIX


def dicomweb_router() -> APIRouter:
    """Everything under `/dicom-web`."""
    router = APIRouter(prefix=PREFIX)
    router.include_router(store.router)
    return router
