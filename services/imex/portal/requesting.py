"""Asking another institution for studies, and deciding about it: what API and pages share."""

from datetime import date
from typing import Literal, Self
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, model_validator

from imex.events import Priority
from imex.events.sealed import Sealed, SealedWanted, seal_context
from imex.portal import audit, commands
from imex.portal.answers import answer_to, unless_rejected
from imex.portal.api.access import sealer_of
from imex.portal.context import Portal
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import directories, requests
from imex.portal.scope import Caller

Decided = Literal["grant", "refuse", "withdraw", "retry"]


class Wanted(BaseModel):
    """Which studies: of a person, or by an accession number, or one by its UID."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    issuer: str = Field(default="", max_length=64, description="of patient_id: `NHS`, another, or a code")
    patient_id: str = Field(default="", max_length=64)
    accession: str = Field(default="", max_length=64)
    study_uid: str = Field(default="", max_length=64)


class NewRequest(Wanted):
    """What is asked for. Identifiers are sent in a body, so that no address or log names a patient."""

    holder: str = Field(min_length=1, max_length=16, description="code of the institution that has them")
    requester: str | None = Field(
        default=None, max_length=16, description="in whose name; the caller's institution where left out"
    )
    purpose: str = Field(default="direct-care", min_length=1, max_length=64)
    priority: Priority = "routine"
    modality: str | None = Field(default=None, pattern=r"^[A-Z0-9 _]{1,16}$")
    studied_from: date | None = None
    studied_until: date | None = None
    reason: str = Field(min_length=1, max_length=500, description="in words that name no patient")

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        said = [bool(self.patient_id), bool(self.accession), bool(self.study_uid)]
        if sum(said) != 1:
            raise ValueError("say exactly one of patient_id (with its issuer), accession and study_uid")
        if bool(self.issuer) != bool(self.patient_id):
            raise ValueError("issuer and patient_id go together")
        if self.studied_from and self.studied_until and self.studied_until < self.studied_from:
            raise ValueError("studied_until lies before studied_from")
        return self


class Request(requests.Request):
    """A request with what it is about, where that is still kept."""

    wanted: Wanted | None = None


async def make(portal: Portal, caller: Caller, wanted: NewRequest) -> tuple[UUID, bool]:
    """Ask; the request's id, and whether routing has made it already.

    Raises:
        Problem: nobody may ask so, somebody is unknown, or too much is asked for already.
    """
    requester = wanted.requester or caller.institution
    if requester is None:
        raise Problem(422, "Say the requester: an administrator belongs to no institution.")
    if not caller.acts_for(requester):
        raise forbidden(f"You cannot ask in the name of {requester}: only {requester} can.")
    sealer = sealer_of(portal)
    request = uuid4()
    about = SealedWanted(**wanted.model_dump(include=set(SealedWanted.model_fields)))
    async with portal.database.unit() as unit:
        known = {one.code for one in (await directories.in_force(unit.connection)).directory.institutions}
        for field, code in (("holder", wanted.holder), ("requester", requester)):
            if code not in known:
                raise Problem(422, f"{field}: {code!r} is no institution of the directory.")
        if requester == wanted.holder:
            raise Problem(422, "holder: must be another institution than the requester")
        command = commands.ask_for_studies(
            unit,
            caller,
            "make",
            request=request,
            requester=requester,
            holder=wanted.holder,
            purpose=wanted.purpose,
            priority=wanted.priority,
            wanted=sealer.seal(about, seal_context("request", request)),
            modality=wanted.modality,
            studied_from=wanted.studied_from and wanted.studied_from.isoformat(),
            studied_until=wanted.studied_until and wanted.studied_until.isoformat(),
            reason=wanted.reason,
        )
        audit.record(
            unit,
            caller,
            "request_made",
            source=wanted.holder,
            recipient=requester,
            purpose=wanted.purpose,
            reason=wanted.reason,
            details={"request": str(request)},
        )
    answer = await answer_to(portal, command, wanted.holder)
    if answer is not None:
        unless_rejected(answer)
    return request, answer is not None


async def decide(portal: Portal, caller: Caller, request: UUID, command: Decided, reason: str) -> bool:
    """Grant or refuse what one's institution is asked for, look for it again, or withdraw what it asked.

    Whether it is done.

    Raises:
        Problem: it is another's to decide, a refusal has no reason, or routing could not do it.
    """
    async with portal.database.unit() as unit:
        known = await requests.get(unit.connection, caller.scope, request)
        if known is None:
            raise not_found("request")
        whose = known.requester if command == "withdraw" else known.holder
        if not caller.acts_for(whose):
            raise forbidden(f"You cannot {command} this request: only {whose} can.")
        if command == "refuse" and not reason:
            raise Problem(422, "Say the reason: who asked is told.")
        identifier = commands.ask_for_studies(
            unit,
            caller,
            command,
            request=request,
            requester=known.requester,
            holder=known.holder,
            reason=reason,
        )
        audit.record(
            unit,
            caller,
            "request_decided",
            source=known.holder,
            # a record that names the requester is its to read, and of a grant it learns by shares alone
            recipient=None if command in {"grant", "retry"} else known.requester,
            purpose=known.purpose,
            reason=reason,
            details={"request": str(request), "command": command},
        )
    result = await answer_to(portal, identifier, known.holder)
    if result is None:
        return False
    unless_rejected(result)
    return True


async def shown(portal: Portal, caller: Caller, request: UUID) -> Request:
    """One request, with whom it is about while it is open; that somebody looked is audited."""
    async with portal.database.unit() as unit:
        known = await requests.get(unit.connection, caller.scope, request)
        if known is None:
            raise not_found("request")
        sealed = await requests.sealed(unit.connection, caller.scope, request)
        audit.record(
            unit,
            caller,
            "requests_viewed",
            source=known.holder,
            recipient=known.requester,
            purpose=known.purpose,
            details={"request": str(request)},
        )
    about = None
    if sealed is not None:
        opened = sealer_of(portal).open_as(
            SealedWanted, Sealed.model_validate(sealed), seal_context("request", request)
        )
        about = Wanted(**opened.model_dump())
    return Request(**known.model_dump(), wanted=about)
