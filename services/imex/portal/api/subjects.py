"""/subjects: what the network has of a person, and its being erased or put right. For administrators."""

from typing import Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import null

from imex.events.commands import SubjectCommanded, SubjectCommandedData
from imex.events.sealed import Sealed, SealedPerson, seal_context
from imex.portal import audit, commands
from imex.portal.api.access import AdminPart, PortalPart, sealer_of
from imex.portal.api.marks import Named
from imex.portal.context import Portal
from imex.portal.correcting import Facts
from imex.portal.problems import Problem, not_found
from imex.portal.queries import subjects
from imex.portal.queries.subjects import Standing, Subject
from imex.portal.scope import Caller
from imex.sharing.persons import Person

router = APIRouter(tags=["subjects"])

ACCOUNT = "account"
"""The issuer of those who act here: their user name, or the name that the audit trail shows of them."""
_MOST = 5000
_AUDITED: dict[str, Literal["subject_reported", "subject_erased", "subject_rectified"]] = {
    "report": "subject_reported",
    "erase": "subject_erased",
    "rectify": "subject_rectified",
}


class Erasure(BaseModel):
    """Why, and whether what is under way is stopped for it."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: str = Field(min_length=1, max_length=500, description="in words that name no patient")
    force: bool = Field(default=False, description="also while shares are under way, which are revoked then")


class Rectification(BaseModel):
    """What is right. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: str = Field(min_length=1, max_length=500, description="in words that name no patient")
    right: Facts


@router.post("/subjects/report", responses={202: {"model": Subject}})
async def report(portal: PortalPart, caller: AdminPart, named: Named, response: Response) -> Subject:
    """Find everything of a person. The identifier is kept sealed with the report until an erasure."""
    return await _ask(portal, caller, "report", named.person(), response, reason="")


@router.get("/subjects/{subject}")
async def get_subject(portal: PortalPart, caller: AdminPart, subject: UUID) -> Subject:
    """A report, an erasure or a rectification, as far as services have answered."""
    async with portal.database.unit() as unit:
        audit.record(unit, caller, "subject_reported", details={"subject": str(subject), "looked": "again"})
        found = await subjects.get(unit.connection, subject)
    if found is None:
        raise not_found("report")
    return found


@router.post("/subjects/{subject}/erase", responses={202: {"model": Subject}})
async def erase(
    portal: PortalPart, caller: AdminPart, subject: UUID, wanted: Erasure, response: Response
) -> Subject:
    """Erase what a report has found. What is held for a legal duty stays, and the report says so."""
    who = await _reported(portal, subject)
    return await _ask(
        portal, caller, "erase", who, response, reason=wanted.reason, rests_on=subject, force=wanted.force
    )


@router.post("/subjects/{subject}/rectify", responses={202: {"model": Subject}})
async def rectify(
    portal: PortalPart, caller: AdminPart, subject: UUID, wanted: Rectification, response: Response
) -> Subject:
    """Put right what a report has found. Images keep what their sender wrote: recall them for that."""
    if not any(wanted.right.model_dump().values()):
        raise Problem(422, "Say what is right.")
    who = await _reported(portal, subject)
    return await _ask(
        portal, caller, "rectify", who, response, reason=wanted.reason, rests_on=subject, right=wanted.right
    )


async def _reported(portal: Portal, subject: UUID) -> Person:
    async with portal.database.engine.connect() as connection:
        sealed = await subjects.sealed_person(connection, subject)
    if sealed is None:
        words = "There is no such report, or it is used or too old. Make one with `imex subjects report`."
        raise Problem(404, words)
    told = sealer_of(portal).open_as(
        SealedPerson, Sealed.model_validate(sealed), seal_context("subject", subject)
    )
    return Person(told.issuer, told.patient_id)


async def _ask(
    portal: Portal,
    caller: Caller,
    command: Literal["report", "erase", "rectify"],
    who: Person,
    response: Response,
    *,
    reason: str,
    rests_on: UUID | None = None,
    force: bool = False,
    right: Facts | None = None,
) -> Subject:
    sealer = sealer_of(portal)
    subject = uuid4()
    person = sealer.seal(SealedPerson(**who._asdict()), seal_context("subject", subject))
    told = None
    if right is not None:
        # as a mark or a link would be: an issuer that is not named stays the study's own
        told = sealer.seal(SealedPerson(**right.model_dump()), seal_context("subject-right", subject))
    async with portal.database.unit() as unit:
        now = await subjects.standing(unit.connection, who)
        _check(command, now, force=force)
        facts = await subjects.acted(unit.connection, who.patient_id, _MOST) if who.issuer == ACCOUNT else []
        objects = await subjects.objects(unit.connection, now.studies, _MOST) if command == "erase" else []
        row = {
            "id": subject,
            "command": command,
            "report": rests_on,
            "person": person.model_dump(mode="json") if command == "report" else null(),
            "actor": caller.name,
            "reason": reason,
        }
        await subjects.put(unit.connection, row)
        if command == "erase" and rests_on is not None:
            await subjects.forget(unit.connection, rests_on)
        unit.publish(
            SubjectCommanded.of(
                id=subject,
                subject=f"subject/{subject}",
                data=SubjectCommandedData(
                    command=command,
                    subject=subject,
                    person=person,
                    right=told,
                    studies=tuple(now.studies),
                    facts=tuple(facts),
                    objects=tuple(objects),
                    actor=caller.name,
                    actor_institution=caller.institution,
                ),
            )
        )
        audit.record(
            unit,
            caller,
            _AUDITED[command],
            reason=reason,
            counts={"studies": len(now.studies)},
            details={"subject": str(subject), **({"report": str(rests_on)} if rests_on else {})},
        )

    async def ask() -> Subject | None:
        async with portal.database.engine.connect() as connection:
            found = await subjects.get(connection, subject, now)
        return found if found is not None and found.complete else None

    done = await commands.until(ask, portal.command_wait_s)
    if done is not None:
        return done
    response.status_code = 202
    async with portal.database.engine.connect() as connection:
        pending = await subjects.get(connection, subject, now)
    assert pending is not None, "it has just been written"
    return pending


def _check(command: str, now: Standing, *, force: bool) -> None:
    if len(now.studies) > _MOST:
        raise Problem(409, f"More than {_MOST} studies are this person's: is it one person?")
    if command == "erase" and now.under_way and not force:
        words = f"{now.under_way} share{'s have' if now.under_way != 1 else ' has'} not arrived yet."
        raise Problem(409, f"{words} Wait for it, or force the erasure: what is under way is revoked then.")
