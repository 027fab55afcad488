"""What agreements, rules, endpoints and institutions may ask for beyond who and whom: parts of the model."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imex.directory import fields
from imex.directory.part import Part


class Priority(StrEnum):
    """How urgent a share is; an emergency is sent instance by instance and overtakes everything."""

    ROUTINE = "routine"
    URGENT = "urgent"
    EMERGENCY = "emergency"


class Severity(StrEnum):
    """What a finding of validation does: it is told, it waits for a person, or it goes no further."""

    WARN = "warn"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"


DIRECT_CARE = "direct-care"
"""The purpose where nothing states one."""

PURPOSES_OF_CARE = frozenset(
    {DIRECT_CARE, "mdt", "second-opinion", "reporting", "patient-request", "surgical-planning"}
)
"""Purposes to which the national data opt-out does not apply; it does to every other, also unknown ones."""

LEGAL_DUTIES = frozenset({"forensic"})
"""Purposes that the law demands, to which no opt-out applies either."""

DeidentificationOption = Literal[
    "retain-longitudinal-modified-dates",
    "retain-longitudinal-full-dates",
    "retain-patient-characteristics",
    "retain-device-identity",
    "retain-institution-identity",
    "retain-safe-private",
    "clean-descriptors",
    "clean-structured-content",
    "clean-graphics",
]
"""Options of the Basic Application Level Confidentiality Profile (PS3.15 Annex E.3)."""


class Deidentification(Part):
    """That nothing leaves under the agreement as it is: PS3.15 Annex E, the Basic Profile with options."""

    LATER: ClassVar[frozenset[str]] = frozenset({"options", "burned_in"})

    project: fields.Token = Field(
        description="Within which UIDs, pseudonyms and shifted dates are consistent, over all its agreements"
    )
    options: tuple[DeidentificationOption, ...] = ()
    burned_in: Literal["hold", "release"] = Field(
        default="hold", description="What becomes of an instance whose pixels may show who it is"
    )

    @model_validator(mode="after")
    def _one_way_with_dates(self) -> Self:
        dates = [option for option in self.options if option.endswith("-dates")]
        if len(dates) > 1:
            raise PydanticCustomError("dates_twice", "names two ways with dates", {"field": "options"})
        return self


class IdentityPolicy(Part):
    """Under which identifiers a recipient wants what is delivered to it; the stored payload never changes."""

    LATER: ClassVar[frozenset[str]] = frozenset({"patient_id", "accession", "unmapped"})

    patient_id: Literal["keep", "add-issuer", "map"] = Field(
        default="keep",
        description="as received | with its issuer named | the recipient's own, with the sender's among the "
        "other patient IDs",
    )
    accession: Literal["keep", "add-issuer", "map"] = "keep"
    unmapped: Literal["hold", "add-issuer"] = Field(
        default="hold", description="Where no identifier of the recipient's own is known"
    )


class ClientCredentials(Part):
    """How access tokens for a DICOMweb server are got: OAuth 2.0, client credentials (RFC 6749 4.4)."""

    LATER: ClassVar[frozenset[str]] = frozenset({"client_authentication"})

    token_url: fields.Url
    client_id: fields.Text
    secret: fields.Token = Field(
        description="The name under which the delivery service holds the client's secret; never the secret"
    )
    scope: fields.Text | None = None
    client_authentication: Literal["basic", "post"] = Field(
        default="basic", description="Where the secret goes: the Authorization header, or the form"
    )


class Alternate(Part):
    """Who gets a study in a recipient's place, and when."""

    if_: Literal["closed", "unaccepted", "uncovered"] = Field(
        alias="if",
        description="closed: outside the endpoint's hours; unaccepted: it takes none of the study's SOP "
        "classes; uncovered: no agreement lets it",
    )
    to: fields.OneOrMoreCodes


class Priors(Part):
    """Earlier studies of the same person, from the same source, that travel along."""

    LATER: ClassVar[frozenset[str]] = frozenset({"within_days", "modality"})

    count: Annotated[int, Field(ge=1, le=20)]
    within_days: Annotated[int, Field(ge=1, le=36_500)] = 3650
    modality: Literal["same", "any"] | fields.OneOrMoreCodeStrings = "same"


class Escalation(Part):
    """When a share that is not delivered becomes more urgent."""

    LATER: ClassVar[frozenset[str]] = frozenset({"to"})

    after_s: Annotated[int, Field(ge=1, le=14 * 86_400)] = Field(
        description="Seconds after its first instance"
    )
    to: Priority = Priority.URGENT


class Completeness(Part):
    """When a study is whole, beyond the quiet period."""

    LATER: ClassVar[frozenset[str]] = frozenset({"expected", "required_series", "at_most_s"})

    expected: bool = Field(
        default=True,
        description="Whether a count that the sender states (0020,1208 or its manifest) ends the wait early",
    )
    required_series: fields.SeriesExpression | None = Field(
        default=None,
        description="CEL over series (a list of maps with modality, description, body_part, instances) that "
        "has to hold first",
    )
    at_most_s: Annotated[int, Field(ge=1, le=14 * 86_400)] | None = Field(
        default=None,
        description="Seconds after the first instance at which it counts as whole whatever lacks",
    )
