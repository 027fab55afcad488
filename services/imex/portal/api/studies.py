"""/studies and /find: what came in, and where a thing is that one has a number of."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from imex.db import UnitOfWork
from imex.portal import audit
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.queries import shares, studies
from imex.portal.queries.page import Page
from imex.portal.scope import Caller

router = APIRouter(tags=["studies"])

FIND_LIMIT = 200


class Found(BaseModel):
    """What an identifier names."""

    studies: list[studies.Study]
    shares: list[shares.Share]


@router.get("/studies")
async def list_studies(
    portal: PortalPart,
    caller: CallerPart,
    unaddressed: Annotated[
        Literal["true", "false"] | None, Query(description="true: only those that nothing addresses")
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[studies.Study]:
    """Studies, the last to come in first."""
    addressed = None if unaddressed is None else unaddressed == "false"
    async with portal.database.unit() as unit:
        page = await studies.listed(
            unit.connection, caller.scope, addressed=addressed, limit=limit, after=after
        )
        record_studies(unit, caller, page.items)
    return page


def record_studies(unit: UnitOfWork, caller: Caller, found: list[studies.Study]) -> None:
    """Audit a list of studies: each one, as accession numbers and descriptions are shown."""
    for study in found:
        audit.record(
            unit,
            caller,
            "shares_listed",
            source=study.source,
            study_uid=study.study_uid,
            details={"list": "studies"},
        )
    if not found:
        audit.record(unit, caller, "shares_listed", details={"list": "studies"}, counts={"studies": 0})


@router.get("/find")
async def find(
    portal: PortalPart,
    caller: CallerPart,
    identifier: Annotated[
        str, Query(min_length=1, max_length=128, description="study UID, accession, share id or trace id")
    ],
) -> Found:
    """Studies and shares by one of their numbers."""
    async with portal.database.unit() as unit:
        return await found_by(unit, caller, identifier.strip())


async def found_by(unit: UnitOfWork, caller: Caller, identifier: str) -> Found:
    """Look, and audit each study that was found. What was looked for may be a patient's: it is not kept."""
    hits = await studies.matching(unit.connection, caller.scope, identifier, FIND_LIMIT)
    page = await shares.listed(unit.connection, caller.scope, shares.Filter(q=identifier), FIND_LIMIT)
    about = {(hit.source, hit.study_uid) for hit in hits} | {(s.source, s.study_uid) for s in page.items}
    for source, study_uid in sorted(about):
        audit.record(unit, caller, "identifier_searched", source=source, study_uid=study_uid)
    if not about:
        audit.record(unit, caller, "identifier_searched", counts={"found": 0})
    # a share's id names its study too
    known = {(hit.source, hit.study_uid) for hit in hits}
    for source, study_uid in sorted(about - known):
        study = await studies.of_share_source(unit.connection, caller.scope, source, study_uid)
        if study is not None:
            hits.append(study)
    return Found(studies=hits, shares=page.items)
