"""Opening corrections and acknowledging them: for the API and the pages."""

from collections.abc import Mapping
from typing import Final, Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field

from imex.db import UnitOfWork
from imex.dicom.rejection import ReasonCode
from imex.events.sealed import seal_context
from imex.portal import audit, commands
from imex.portal.answers import answer_to, unless_rejected
from imex.portal.api.access import sealer_of
from imex.portal.context import Portal
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import corrections
from imex.portal.scope import Caller

Why = Literal["wrong-patient", "quality", "patient-safety", "retention-expired"]
CODES: Final[Mapping[Why, ReasonCode]] = {
    "wrong-patient": "113038",
    "quality": "113001",
    "patient-safety": "113037",
    "retention-expired": "113039",
}
"""Of the rejection note's title (CID 7010), as IHE's IOCM uses them."""


class Facts(BaseModel):
    """Who somebody is. What is left out is not spoken of."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    issuer: str = Field(default="", max_length=64)
    patient_id: str = Field(default="", max_length=64)
    patient_name: str = Field(default="", max_length=324)
    birth_date: str = Field(default="", pattern=r"^([0-9]{8})?$", description="YYYYMMDD")
    sex: str = Field(default="", max_length=16)


class Person(BaseModel):
    """What was wrong of a person, and what is right; of a merge, the record that is left."""

    model_config = ConfigDict(extra="forbid")

    wrong: Facts = Field(default_factory=Facts)
    right: Facts = Field(default_factory=Facts)


class NewRecall(BaseModel):
    """What is taken back, and why."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    why: Why
    reason: str = Field(default="", max_length=500, description="in words that name no patient")
    instances: list[str] = Field(
        default=[], max_length=10_000, description="SOP Instance UIDs; without any the whole study"
    )


class NewCorrection(BaseModel):
    """A recall, or an announcement that a person's data is wrong or that two records are one person's."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    source: str = Field(min_length=1, max_length=16, description="code of the institution that sent it")
    study_uid: str = Field(min_length=1, max_length=64)
    kind: corrections.CorrectionKind = "recall"
    why: Why | None = Field(default=None, description="of a recall")
    reason: str = Field(default="", max_length=500, description="in words that name no patient")
    instances: list[str] = Field(default=[], max_length=10_000, description="of a recall; none: all")
    person: Person | None = Field(default=None, description="of the other kinds; kept sealed")

    def check(self) -> None:
        """Raises Problem: 422, its parts do not fit together."""
        if self.kind == "recall" and (self.why is None or self.person is not None):
            raise Problem(422, "A recall needs `why`, and names no person.")
        if self.kind != "recall" and (self.why is not None or self.instances or self.person is None):
            raise Problem(
                422, "A correction of a person needs `person`; `why` and `instances` are of recalls."
            )


async def open_correction(
    portal: Portal, caller: Caller, wanted: NewCorrection
) -> corrections.Correction | UUID:
    """What was opened; its id alone where routing has not answered yet.

    Raises:
        Problem: 403, 404, 409 or 422.
    """
    wanted.check()
    if not caller.acts_for(wanted.source):
        raise forbidden(f"You cannot recall or correct studies of {wanted.source}: only {wanted.source} can.")
    correction = uuid4()
    sealed = None
    if wanted.person is not None:
        sealed = sealer_of(portal).seal(wanted.person.model_dump(), seal_context("correction", correction))
    async with portal.database.unit() as unit:
        command = commands.correct(
            unit,
            caller,
            "open",
            correction=correction,
            study=(wanted.source, wanted.study_uid),
            reason=wanted.reason,
            kind=wanted.kind,
            code=CODES[wanted.why] if wanted.why else None,
            instances=tuple(wanted.instances),
            person=sealed,
        )
    return await _answered(portal, caller, command, wanted.source, correction)


async def acknowledge(
    portal: Portal, caller: Caller, correction: UUID, remark: str, recipient: str | None = None
) -> corrections.Correction | UUID:
    """Somebody of the recipient has seen to it; an administrator says of which recipient.

    Raises:
        Problem: 403, 404, 409 or 422.
    """
    async with portal.database.unit() as unit:
        found = await corrections.get(unit.connection, caller.scope, correction)
        if found is None:
            raise not_found("correction")
        whose = recipient or caller.institution
        if whose is None:
            raise Problem(422, "Say of which recipient: an administrator acknowledges in its name.")
        if not any(one.recipient == whose for one in found.concerned) or not caller.acts_for(whose):
            raise forbidden("Only the recipient can acknowledge it.")
        study = await corrections.study_of(unit.connection, correction)
        command = commands.correct(
            unit, caller, "acknowledge", correction=correction, study=study, reason=remark, recipient=whose
        )
        audit.record(
            unit,
            caller,
            "correction_acknowledged",
            source=study[0],
            study_uid=study[1],
            recipient=whose,
            reason=remark,
            details={"correction": str(correction)},
        )
    return await _answered(portal, caller, command, whose, correction)


async def _answered(
    portal: Portal, caller: Caller, command: UUID, whose: str, correction: UUID
) -> corrections.Correction | UUID:
    result = await answer_to(portal, command, whose)
    if result is None:
        return correction
    unless_rejected(result)
    async with portal.database.engine.connect() as connection:
        return await corrections.get(connection, caller.scope, correction) or correction


def looked_at(unit: UnitOfWork, caller: Caller, count: int) -> None:
    """Record that corrections were listed, before they are shown."""
    audit.record(unit, caller, "corrections_viewed", counts={"corrections": count})
