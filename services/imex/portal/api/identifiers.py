"""/identifiers: a recipient's own Patient IDs and Accession Numbers for a sender's."""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from imex.dicom.mapping import Kind, Told, collision
from imex.portal import audit, commands
from imex.portal.api.access import After, CallerPart, Limit, PortalPart, sealer_of
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import identifiers
from imex.portal.queries.page import Page

router = APIRouter(tags=["identifiers"])


class NewIdentifier(BaseModel):
    """What a sender calls a patient (or a request), and what the recipient does."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    recipient: str = Field(min_length=1, max_length=32)
    source: str = Field(min_length=1, max_length=32, description="institution that sends")
    kind: Kind = "patient"
    issuer: str = Field(default="", max_length=64, description="of `value`; empty: the sender's own")
    value: str = Field(min_length=1, max_length=64, description="as the sender has it")
    own: str = Field(min_length=1, max_length=64, description="as the recipient has it")
    name: str = Field(default="", max_length=324, description="of the patient: compared before it is used")
    birth_date: str = Field(default="", pattern=r"^([0-9]{8})?$", description="YYYYMMDD: compared too")


@router.get("/identifiers")
async def list_identifiers(
    *,
    portal: PortalPart,
    caller: CallerPart,
    recipient: Annotated[str | None, Query(min_length=1, max_length=32)] = None,
    source: Annotated[str | None, Query(min_length=1, max_length=32)] = None,
    kind: Kind | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[identifiers.Identifier]:
    """The caller's own mappings, the newest first. Patient data: that they were looked at is audited."""
    async with portal.database.unit() as unit:
        page = await identifiers.listed(
            unit.connection,
            caller.scope,
            recipient=recipient,
            source=source,
            kind=kind,
            limit=limit,
            after=after,
        )
        audit.record(
            unit,
            caller,
            "identifier_searched",
            recipient=recipient or caller.institution,
            counts={"identifiers": len(page.items)},
        )
    return page


@router.post("/identifiers", status_code=201, responses={202: {"model": None}})
async def add_identifier(
    *, portal: PortalPart, caller: CallerPart, body: NewIdentifier, response: Response
) -> identifiers.Identifier | None:
    """Say which of the recipient's own identifiers stands for one of a sender's; a repeat changes nothing.

    409 where it would be ambiguous: of one sender, one identifier has one of the recipient's own, and the
    other way round.
    """
    if not caller.acts_for(body.recipient):
        raise forbidden(f"Only {body.recipient} or the network's administration may do this.")
    if body.source == body.recipient:
        raise Problem(422, "A recipient's own identifiers need no mapping. Name another source.")
    sealer = sealer_of(portal)
    told = Told.model_validate(body.model_dump())
    identifier = uuid4()
    async with portal.database.unit() as unit:
        about = (body.recipient, body.kind, body.source, told)
        if (known := await identifiers.same(unit.connection, caller.scope, *about)) is not None:
            return known
        held = await identifiers.beside(unit.connection, *about)
        if reason := collision(held, body.kind, body.source, told):
            raise Problem(409, reason[0].upper() + reason[1:] + ".")
        commands.add_identifier(
            unit,
            caller,
            identifier=identifier,
            recipient=body.recipient,
            kind=body.kind,
            sender=body.source,
            told=told,
            sealer=sealer,
        )
        audit.record(
            unit,
            caller,
            "identifier_mapped",
            recipient=body.recipient,
            details={"kind": body.kind, "sender": body.source, "identifier": str(identifier)},
        )

    async def ask() -> identifiers.Identifier | None:
        async with portal.database.engine.connect() as connection:
            return await identifiers.get(connection, caller.scope, identifier)

    added = await commands.until(ask, portal.command_wait_s)
    if added is None:
        response.status_code = 202
    return added


@router.delete("/identifiers/{identifier}", status_code=204, responses={202: {"model": None}})
async def remove_identifier(
    portal: PortalPart, caller: CallerPart, identifier: UUID, response: Response
) -> None:
    """Take a mapping away; what was delivered under it stays as it is."""
    async with portal.database.unit() as unit:
        found = await identifiers.get(unit.connection, caller.scope, identifier)
        if found is None:
            raise not_found("identifier")
        if not caller.acts_for(found.recipient):
            raise forbidden(f"Only {found.recipient} or the network's administration may do this.")
        commands.remove_identifier(
            unit,
            caller,
            identifier=identifier,
            recipient=found.recipient,
            kind=found.kind,
            sender=found.source,
        )
        audit.record(
            unit,
            caller,
            "identifier_unmapped",
            recipient=found.recipient,
            details={"kind": found.kind, "sender": found.source, "identifier": str(identifier)},
        )

    async def ask() -> bool | None:
        async with portal.database.engine.connect() as connection:
            return await identifiers.get(connection, caller.scope, identifier) is None or None

    if await commands.until(ask, portal.command_wait_s) is None:
        response.status_code = 202
