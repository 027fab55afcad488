"""STOW-RS in (PS3.18 section 10.5): who sends is known here, what is sent is read by ingest alone."""

import re
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from imex.dicomweb.media import DICOM_JSON, json_wanted
from imex.dicomweb.outcome import RETRY_AFTER_S, PartOutcome, store_instances_response
from imex.dicomweb.statement import Statement
from imex.portal.api.access import CallerPart, PortalPart
from imex.portal.context import Portal
from imex.portal.dicomweb.urls import base_url, instance_url
from imex.portal.problems import Problem, forbidden
from imex.portal.scope import Caller

router = APIRouter(tags=["dicomweb"])

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
StudyUid = Annotated[str, Path(min_length=1, max_length=64)]


@router.post("/studies", include_in_schema=False)
async def store(request: Request, portal: PortalPart, caller: CallerPart) -> JSONResponse:
    """Store instances of any studies."""
    return await _store(request, portal, caller, "")


@router.post("/studies/{study}", include_in_schema=False)
async def store_of_study(
    request: Request, portal: PortalPart, caller: CallerPart, study: StudyUid
) -> JSONResponse:
    """Store instances of one study."""
    if not _UID.fullmatch(study):
        raise Problem(400, "The study in the path is no UID.")
    return await _store(request, portal, caller, study)


async def _store(request: Request, portal: Portal, caller: Caller, study: str) -> JSONResponse:
    if portal.ingest is None:
        raise Problem(501, "STOW-RS is not set up here. Set IMEX_STOW_URL and IMEX_STOW_SECRET.")
    if caller.institution is None or not caller.may_act:
        raise forbidden("A study comes from an institution: use the token of one that may send.")
    if not json_wanted(request.headers.get("accept", "")):
        raise Problem(406, f"The answer is {DICOM_JSON}. Accept that.")
    statement = Statement(caller.institution, caller.id, study, request.headers.get("content-type", ""))
    address = request.client.host if request.client else ""
    told = await portal.ingest.store(statement, address, request.stream())
    base = base_url(request, portal)
    status = told.http_status

    def url(part: PartOutcome) -> str:
        return instance_url(base, part.study_uid, part.series_uid, part.sop_instance_uid)

    studies = {part.study_uid for part in told.stored}
    study_url = f"{base}/studies/{next(iter(studies))}" if len(studies) == 1 else ""
    return JSONResponse(
        store_instances_response(told, study_url, url),
        status,
        headers={"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None,
        media_type=DICOM_JSON,
    )
