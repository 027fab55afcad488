"""Who somebody is: links of temporary identities, and what tracing has found of NHS numbers."""

from typing import Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from imex.db.tables.validation import links, studies, traced
from imex.dicom import is_nhs_issuer, nhs_number_valid
from imex.events.sealed import SealedPerson, seal_context
from imex.portal import audit, commands
from imex.portal.api.access import AdminPart, CallerPart, PortalPart, sealer_of
from imex.portal.problems import Problem, forbidden, not_found
from imex.sharing.persons import person

router = APIRouter(tags=["identities"])


class NewLink(BaseModel):
    """Which person a study's temporary identity stands for. In a body, so that no address names a patient."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    source: str = Field(min_length=1, max_length=32)
    study_uid: str = Field(min_length=1, max_length=64)
    issuer: str = Field(min_length=1, max_length=64, description="`NHS`, another, or the source's code")
    patient_id: str = Field(min_length=1, max_length=64)
    reason: str = Field(default="", max_length=500, description="in words that name no patient")


class Link(BaseModel):
    """A link that was asked for."""

    link: UUID
    state: Literal["linked", "pending"]


class TracedNumber(BaseModel):
    """What tracing has found of an NHS number."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    nhs_number: str = Field(min_length=10, max_length=12)
    status: Literal["traced", "not-traced", "superseded"]
    superseded_by: str | None = Field(default=None, min_length=10, max_length=12)


@router.post("/identities/link", responses={202: {"model": Link}})
async def link_identity(portal: PortalPart, caller: CallerPart, wanted: NewLink, response: Response) -> Link:
    """Say who an "unknown" patient is. What is not delivered is asked again with what is marked of them.

    409 where the study's identity is not a temporary one.
    """
    if not caller.acts_for(wanted.source):
        raise forbidden(f"Only {wanted.source} or the network's administration may say who its patients are.")
    sealer = sealer_of(portal)
    if is_nhs_issuer(wanted.issuer):
        _check_number(wanted.patient_id)
    link = uuid4()
    async with portal.database.unit() as unit:
        s = studies.c
        known = await unit.connection.scalar(
            select(s.temporary).where(s.source == wanted.source, s.study_uid == wanted.study_uid)
        )
        linked = await unit.connection.scalar(
            select(links.c.id)
            .where(links.c.source == wanted.source, links.c.study_uid == wanted.study_uid)
            .limit(1)
        )
        if known is None:
            raise not_found("study")
        if not known and linked is None:
            raise Problem(409, "The study's identity is not a temporary one: it cannot be linked.")
        about = SealedPerson(issuer=wanted.issuer, patient_id=wanted.patient_id)
        commands.link_identity(
            unit,
            caller,
            link=link,
            study=(wanted.source, wanted.study_uid),
            sealed=sealer.seal(about, seal_context("link", link)),
            reason=wanted.reason,
        )
        audit.record(
            unit,
            caller,
            "identity_linked",
            source=wanted.source,
            study_uid=wanted.study_uid,
            details={"link": str(link), "reason": wanted.reason},
        )

    async def ask() -> UUID | None:
        async with portal.database.engine.connect() as connection:
            return await connection.scalar(select(links.c.id).where(links.c.id == link))

    done = await commands.until(ask, portal.command_wait_s)
    if done is None:
        response.status_code = 202
    return Link(link=link, state="linked" if done else "pending")


@router.post("/identities/trace", responses={202: {"model": TracedNumber}})
async def trace_number(
    portal: PortalPart, admin: AdminPart, wanted: TracedNumber, response: Response
) -> TracedNumber:
    """Enter what tracing has found; what comes in from now on is told so."""
    sealer = sealer_of(portal)
    number = _check_number(wanted.nhs_number)
    replacing = _check_number(wanted.superseded_by) if wanted.superseded_by else None
    if (wanted.status == "superseded") != (replacing is not None):
        raise Problem(422, "Say superseded_by with the status superseded, and with it only.")
    command = uuid4()
    async with portal.database.unit() as unit:
        about = {"nhs_number": number, "superseded_by": replacing}
        commands.trace_number(
            unit,
            admin,
            number=command,
            sealed=sealer.seal(about, seal_context("number", command)),
            status=wanted.status,
        )
        audit.record(
            unit, admin, "nhs_number_traced", details={"number": str(command), "status": wanted.status}
        )

    async def ask() -> str | None:
        async with portal.database.engine.connect() as connection:
            t = traced.c
            found = await connection.scalar(select(t.status).where(t.nhs_number == number))
            return found if found == wanted.status else None

    if await commands.until(ask, portal.command_wait_s) is None:
        response.status_code = 202
    return wanted


def _check_number(text: str) -> str:
    found = person("", "NHS", text)
    if found is None or not nhs_number_valid(found.patient_id):
        raise Problem(422, "The NHS number is not valid: its check digit is wrong.")
    return found.patient_id
