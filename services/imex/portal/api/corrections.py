"""/corrections: what sources take back or correct, until each recipient has acknowledged it."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from imex.events.sealed import Sealed, seal_context
from imex.portal import audit, correcting
from imex.portal.api.access import After, CallerPart, Limit, PortalPart, sealer_of
from imex.portal.correcting import NewCorrection, NewRecall, Person
from imex.portal.problems import not_found
from imex.portal.queries import corrections, shares
from imex.portal.queries.page import Page
from imex.portal.scope import Caller

router = APIRouter(tags=["corrections"])


class Pending(BaseModel):
    """Routing has not answered yet; ask for it again."""

    id: UUID


class CorrectionWithPerson(corrections.Correction):
    """A correction, with what is right of the person where the caller may know."""

    person: Person | None = Field(default=None, description="where it is about a person's data")


class Acknowledgement(BaseModel):
    """What was done about it, in words that name no patient."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    remark: str = Field(default="", max_length=500)
    recipient: str | None = Field(
        default=None, max_length=16, description="in whose name; administrators only"
    )


@router.get("/corrections")
async def list_corrections(
    *,
    portal: PortalPart,
    caller: CallerPart,
    outstanding: bool | None = None,
    share: UUID | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[corrections.Correction]:
    """Recalls and corrections that the caller's institution opened or is concerned by, the newest first."""
    async with portal.database.unit() as unit:
        page = await corrections.listed(
            unit.connection, caller.scope, outstanding=outstanding, share=share, limit=limit, after=after
        )
        correcting.looked_at(unit, caller, len(page.items))
    return page


@router.get("/corrections/{correction}")
async def get_correction(portal: PortalPart, caller: CallerPart, correction: UUID) -> CorrectionWithPerson:
    """One of them, with what is right of the person."""
    async with portal.database.unit() as unit:
        found = await corrections.get(unit.connection, caller.scope, correction)
        if found is None:
            raise not_found("correction")
        sealed = await corrections.personal(unit.connection, caller.scope, correction)
        audit.record(
            unit,
            caller,
            "corrections_viewed",
            source=found.source,
            study_uid=(await corrections.study_of(unit.connection, correction))[1],
            details={"correction": str(correction)},
        )
    person = None
    if sealed is not None:
        told: dict[str, Any] = sealer_of(portal).open(
            Sealed.model_validate(sealed), seal_context("correction", correction)
        )
        person = Person.model_validate(told)
    return CorrectionWithPerson(**found.model_dump(), person=person)


@router.post("/corrections", status_code=201, responses={202: {"model": Pending}})
async def open_correction(
    portal: PortalPart, caller: CallerPart, wanted: NewCorrection, response: Response
) -> corrections.Correction | Pending:
    """Take a study or instances back, or correct whose they are: every recipient is told."""
    return _shown(await correcting.open_correction(portal, caller, wanted), response)


@router.post("/shares/{share}/recall", status_code=201, responses={202: {"model": Pending}})
async def recall_share(
    portal: PortalPart, caller: CallerPart, share: UUID, wanted: NewRecall, response: Response
) -> corrections.Correction | Pending:
    """Take back the study of a share, or instances of it, from every recipient that it was shared with."""
    source, study_uid = await _study(portal, caller, share)
    asked = NewCorrection(source=source, study_uid=study_uid, **wanted.model_dump())
    return _shown(await correcting.open_correction(portal, caller, asked), response)


@router.post("/corrections/{correction}/acknowledge", responses={202: {"model": Pending}})
async def acknowledge_correction(
    *,
    portal: PortalPart,
    caller: CallerPart,
    correction: UUID,
    body: Acknowledgement | None = None,
    response: Response,
) -> corrections.Correction | Pending:
    """Somebody of the recipient has seen to it, and it is not outstanding there any more."""
    asked = body or Acknowledgement()
    done = await correcting.acknowledge(portal, caller, correction, asked.remark, asked.recipient)
    return _shown(done, response)


async def _study(portal: PortalPart, caller: Caller, share: UUID) -> tuple[str, str]:
    async with portal.database.engine.connect() as connection:
        found = await shares.get(connection, caller.scope, share)
    if found is None:
        raise not_found("share")
    return found.source, found.study_uid


def _shown(done: corrections.Correction | UUID, response: Response) -> corrections.Correction | Pending:
    if isinstance(done, UUID):
        response.status_code = 202
        return Pending(id=done)
    return done
