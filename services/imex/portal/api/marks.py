"""/marks: what is marked of people's records: the national data opt-out, and sensitive records."""

from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import select

from imex.db.tables.routing import marks
from imex.events.sealed import SealedPerson, seal_context
from imex.portal import audit, commands
from imex.portal.api.access import AdminPart, PortalPart, sealer_of
from imex.portal.context import Portal
from imex.portal.problems import Problem
from imex.sharing.persons import Person, person

router = APIRouter(tags=["marks"])


class Named(BaseModel):
    """Who is meant. Sent in a body, so that no address or log names a patient."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    issuer: str = Field(
        min_length=1,
        max_length=64,
        description="`NHS`, another issuer, or the code whose number it is",
    )
    patient_id: str = Field(min_length=1, max_length=64)

    def person(self) -> Person:
        """As it is kept.

        Raises:
            Problem: 422, nothing is left of the identifier.
        """
        found = person("", self.issuer, self.patient_id)
        if found is None:
            raise Problem(422, "The identifier is empty.")
        return found


class NewMark(Named):
    """What is to be marked; it replaces what was marked before."""

    opted_out: bool = Field(description="of the national data opt-out: no purpose beyond care")
    sensitive: bool = Field(description="only agreements for sensitive records cover it")
    reason: str = Field(default="", max_length=500, description="in words that name no patient")


class Mark(BaseModel):
    """What is marked of one person's record."""

    opted_out: bool
    sensitive: bool
    reason: str = ""
    set_by: str | None = None
    at: AwareDatetime | None = None


@router.post("/marks/find")
async def find_marks(portal: PortalPart, caller: AdminPart, named: Named) -> Mark:
    """What is marked of a person's record. That somebody looked is audited."""
    who = named.person()
    async with portal.database.unit() as unit:
        audit.record(unit, caller, "record_marks_viewed")
    return await _known(portal, who) or Mark(opted_out=False, sensitive=False)


@router.post("/marks", responses={202: {"model": Mark}})
async def mark_record(portal: PortalPart, caller: AdminPart, wanted: NewMark, response: Response) -> Mark:
    """Mark a person's record. What is not delivered is asked again, and stops where nothing covers it."""
    who = wanted.person()
    sealer = sealer_of(portal)
    mark = uuid4()
    sealed = sealer.seal(SealedPerson(**who._asdict()), seal_context("mark", mark))
    async with portal.database.unit() as unit:
        commands.mark_record(
            unit,
            caller,
            opted_out=wanted.opted_out,
            sensitive=wanted.sensitive,
            reason=wanted.reason,
            sealed=sealed,
            mark=mark,
        )
        audit.record(
            unit,
            caller,
            "record_marked",
            details={
                "mark": str(mark),
                "opted_out": str(wanted.opted_out).lower(),
                "sensitive": str(wanted.sensitive).lower(),
                "reason": wanted.reason,
            },
        )

    async def ask() -> Mark | None:
        found = await _known(portal, who)
        same = found and (found.opted_out, found.sensitive) == (wanted.opted_out, wanted.sensitive)
        return found if same else None

    done = await commands.until(ask, portal.command_wait_s)
    if done is None:
        response.status_code = 202
        return Mark(opted_out=wanted.opted_out, sensitive=wanted.sensitive, reason=wanted.reason)
    return done


async def _known(portal: Portal, who: Person) -> Mark | None:
    m = marks.c
    async with portal.database.engine.connect() as connection:
        rows = await connection.execute(
            select(m.opted_out, m.sensitive, m.reason, m.set_by, m.at).where(
                m.issuer == who.issuer, m.patient_id == who.patient_id
            )
        )
        row = rows.mappings().one_or_none()
    return None if row is None else Mark(**row)
