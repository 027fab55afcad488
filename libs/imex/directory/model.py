"""The directory: institutions, groups, agreements and rules, as one immutable document (INTERFACE §3)."""

from datetime import date
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imex.directory import fields
from imex.directory.part import Part
from imex.directory.policies import (
    DIRECT_CARE,
    Alternate,
    ClientCredentials,
    Completeness,
    Deidentification,
    Escalation,
    IdentityPolicy,
    Priority,
    Priors,
    Severity,
)


class Kind(StrEnum):
    """What an institution is."""

    NHS = "nhs"
    PRIVATE = "private"
    MILITARY = "military"
    TELERADIOLOGY = "teleradiology"
    AI = "ai"
    PLANNING = "planning"
    FORENSIC = "forensic"


class Hl7Name(Part):
    """How HL7 messages name their sender: namespace ids of MSH-3 and MSH-4."""

    application: fields.Text
    facility: fields.Text


class Sender(Part):
    """Who may send as the institution; without networks, from anywhere. With TLS the certificate decides.

    Without ``certificate`` it is one with the subject alternative name ``URI:urn:imex:institution:<code>``.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"commitment", "report_to", "hl7"})

    ae_title: fields.AETitle
    networks: tuple[fields.Network, ...] = ()
    certificate: fields.Certificate | None = Field(
        default=None,
        description="sha256:<hex> of its DER form, dns:<name> or uri:<URI> of its subject alternative names, "
        "or the common name of its subject",
    )
    commitment: bool = Field(
        default=False,
        description="Whether it may ask for storage commitments: yes is said only of what a receiving "
        "archive has itself committed",
    )
    report_to: fields.Token | None = Field(
        default=None,
        description="The endpoint to which commitments are reported; the one with the sender's AE title "
        "where left out",
    )
    hl7: Hl7Name | None = Field(
        default=None, description="Under which name it sends reports by HL7 (ORU); left out: it does not"
    )


class Accepts(Part):
    """What an endpoint takes, and how fast. What is left out is unlimited. Hours are UK local time."""

    LATER: ClassVar[frozenset[str]] = frozenset({"transcode"})

    max_associations: Annotated[int, Field(ge=1, le=64)] | None = None
    transfer_syntaxes: fields.AnyOrUids = Field(default=None, description="'any' or a list of UIDs")
    sop_classes: fields.AnyOrUids = Field(default=None, description="'any' or a list of UIDs")
    max_mbps: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = Field(
        default=None, description="Megabits per second"
    )
    hours: fields.Hours | None = Field(default=None, description='When it may be sent to, "08:00-18:30"')
    transcode: Literal["no", "lossless"] = Field(
        default="no",
        description="Whether pixel data may be decompressed, or compressed without loss, where the stored"
        " transfer syntax is not taken",
    )


class Hl7Listener(Part):
    """Where an endpoint's institution is told of merged and corrected patients: HL7 (ADT) through MLLP."""

    LATER: ClassVar[frozenset[str]] = frozenset({"tls"})

    host: fields.Host
    port: Annotated[int, Field(ge=1, le=65535)]
    tls: bool = False


class DicomEndpoint(Part):
    """A DICOM node that takes C-STORE."""

    LATER: ClassVar[frozenset[str]] = frozenset({"identity", "confirm", "query", "query_issuer", "hl7"})

    name: fields.Token
    type: Literal["dicom"]
    ae_title: fields.AETitle
    host: fields.Host
    port: Annotated[int, Field(ge=1, le=65535)]
    tls: bool = False
    accepts: Accepts = Accepts()
    identity: IdentityPolicy = IdentityPolicy()
    confirm: Literal["none", "query", "commitment"] = Field(
        default="none",
        description="What has to say that an instance is there: the answer to the C-STORE; a C-FIND "
        "afterwards; a storage commitment",
    )
    query: bool = Field(
        default=False,
        description="Whether Imex asks it for studies that are requested of the institution: C-FIND, C-MOVE",
    )
    query_issuer: fields.Text | None = Field(
        default=None,
        description="Who issued Patient IDs that it tells without an issuer; the institution where left out",
    )
    hl7: Hl7Listener | None = Field(
        default=None, description="Who is told of merged and corrected patients; left out: people read of it"
    )


class DicomwebEndpoint(Part):
    """A DICOMweb server that takes STOW-RS at its base URL (PS3.18)."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"identity", "confirm", "oauth2", "request_instances", "request_mb", "query", "query_issuer", "hl7"}
    )

    name: fields.Token
    type: Literal["dicomweb"]
    url: fields.Url
    accepts: Accepts = Accepts()
    identity: IdentityPolicy = IdentityPolicy()
    confirm: Literal["none", "query"] = Field(
        default="none",
        description="What has to say that an instance is there: the answer to the STOW-RS; a QIDO-RS "
        "afterwards",
    )
    oauth2: ClientCredentials | None = Field(default=None, description="Where it wants access tokens")
    request_instances: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=50, description="In one request, at most"
    )
    request_mb: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=64, description="Megabytes in one request, at most; a larger instance goes alone"
    )
    query: bool = Field(
        default=False,
        description="Whether Imex asks it for studies that are requested of the institution: QIDO-RS, "
        "WADO-RS",
    )
    query_issuer: fields.Text | None = Field(
        default=None,
        description="Who issued Patient IDs that it tells without an issuer; the institution where left out",
    )
    hl7: Hl7Listener | None = Field(
        default=None, description="Who is told of merged and corrected patients; left out: people read of it"
    )


class InboxEndpoint(Part):
    """The portal's inbox; it may ask for acceptance before anything is put there."""

    LATER: ClassVar[frozenset[str]] = frozenset({"identity"})

    name: fields.Token
    type: Literal["inbox"]
    acceptance: bool = Field(default=False, description="Whether a person accepts each share first")
    accepts: Accepts = Accepts()
    identity: IdentityPolicy = IdentityPolicy()


class Hl7Endpoint(Part):
    """An endpoint's HL7 listener as a destination (`DirectoryIndex.endpoint_for`); never in a document."""

    name: str
    type: Literal["hl7"] = "hl7"
    host: fields.Host
    port: int
    tls: bool = False
    accepts: Accepts = Accepts()
    identity: IdentityPolicy = IdentityPolicy()


DeclaredEndpoint = Annotated[DicomEndpoint | DicomwebEndpoint | InboxEndpoint, Field(discriminator="type")]
"""As a document has it."""
Endpoint = DicomEndpoint | DicomwebEndpoint | InboxEndpoint | Hl7Endpoint


def hl7_name(endpoint: str) -> str:
    """The name of an endpoint's HL7 listener; no endpoint of a document can have it."""
    return f"{endpoint}/hl7"


class SendingLimits(Part):
    """How much an institution may send at a time, over all its senders; what is left out is the default."""

    max_associations: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_mbps: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = Field(
        default=None, description="Megabits per second"
    )
    max_in_flight_mb: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Megabytes that are received and not yet safe"
    )


class Institution(Part):
    """An organisation that sends or receives, known by its ODS code."""

    LATER: ClassVar[frozenset[str]] = frozenset({"checks", "header_revisions", "temporary_identities"})

    code: fields.Code
    name: fields.Text
    kind: Kind
    senders: tuple[Sender, ...] = ()
    endpoints: tuple[DeclaredEndpoint, ...] = ()
    limits: SendingLimits = SendingLimits()
    checks: dict[fields.Token, Severity] = Field(
        default_factory=dict, description="What a finding on what it sends does, by the check's name"
    )
    header_revisions: Literal["hold", "replace"] = Field(
        default="hold",
        description="What becomes of an instance that came before with another header, but the same pixels "
        "and patient",
    )
    temporary_identities: tuple[fields.Text, ...] = Field(
        default=(),
        description="Names (or, behind `id:`, Patient IDs) of people who are not known yet, with * and ?, "
        "beside UNKNOWN* and TRAUMA*",
    )


class Group(Part):
    """Institutions that can be named together."""

    LATER: ClassVar[frozenset[str]] = frozenset({"kind"})

    code: fields.Code
    name: fields.Text
    kind: Literal["network", "mdt", "stroke", "trauma"] = "network"
    members: fields.OneOrMoreCodes


class Agreement(Part):
    """Who may share what with whom, for which purposes, on which legal basis, from when to when.

    Both dates count in full, in UK local time; a date left out is no bound. ``modalities`` narrows it to
    studies that have no other modality.
    """

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "controllers",
            "processors",
            "deidentify",
            "clinician_required",
            "opt_out",
            "sensitive",
            "retain_days",
            "requests",
            "returns",
        }
    )

    id: fields.Token
    from_: fields.OneOrMoreCodes = Field(alias="from")
    to: fields.OneOrMoreCodes
    purposes: fields.OneOrMorePurposes
    legal_basis: fields.Text
    valid_from: date | None = None
    valid_until: date | None = None
    modalities: fields.OneOrMoreCodeStrings | None = None
    controllers: fields.Codes = Field(default=(), description="Who decides why and how the data is processed")
    processors: fields.Codes = Field(default=(), description="Who processes it for a controller")
    deidentify: Deidentification | None = Field(
        default=None, description="Where given, everything is de-identified before it leaves"
    )
    clinician_required: bool = Field(
        default=False, description="Whether a share has to name the clinician it is meant for"
    )
    opt_out: Literal["applies", "exempt"] | None = Field(
        default=None, description="Of the national data opt-out; by the purpose where left out"
    )
    sensitive: bool = Field(
        default=False, description="Whether it also covers records that are marked as sensitive"
    )
    requests: Literal["manual", "automatic"] = Field(
        default="manual",
        description="Whether people grant what a recipient asks its source for",
    )
    returns: Literal["automatic", "addressed"] | None = Field(
        default=None,
        description="Of results that recipients make: they go back by themselves (and the share is refused "
        "where no agreement covers the way back), or only where addressed; left out: by themselves where an "
        "agreement covers the way back",
    )
    retain_days: Annotated[int, Field(ge=0, le=36_500)] | Literal["hold"] | None = Field(
        default=None,
        description="How long payloads are kept once a share under it has ended; hold: until lifted",
    )

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.valid_from and self.valid_until and self.valid_until < self.valid_from:
            raise PydanticCustomError(
                "dates_reversed", "valid_until lies before valid_from", {"field": "valid_until"}
            )
        return self


class Match(Part):
    """Conditions on a study as a whole: each one value, or a list of which one suffices; all must hold."""

    source: fields.OneOrMoreCodes | None = Field(default=None, description="Institutions or groups")
    source_kind: Annotated[tuple[Kind, ...], Field(min_length=1), fields.OneOrMore()] | None = None
    called_ae: fields.OneOrMoreAETitles | None = None
    modality: fields.OneOrMoreCodeStrings | None = Field(default=None, description="Of one of its series")
    body_part: fields.OneOrMoreCodeStrings | None = Field(default=None, description="Of one of its series")
    sop_class: fields.OneOrMoreUids | None = Field(default=None, description="Of one of its instances")
    description: fields.OneOrMoreTexts | None = Field(
        default=None, description="Contained in the study's description, in any case of letters"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("match_empty", "names no condition; say at least the source")
        return self


class Rule(Part):
    """A standing rule: which studies go to whom. With both ``match`` and ``when``, both must hold."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"clinician", "alternates", "priors", "unless_held", "completeness", "escalate"}
    )

    id: fields.Token
    match: Match | None = None
    when: fields.Expression | None = None
    to: fields.OneOrMoreCodes
    purpose: fields.Purpose = DIRECT_CARE
    priority: Priority = Priority.ROUTINE
    quiet_s: Annotated[int, Field(ge=0, le=86_400)] | None = Field(
        default=None, description="Seconds with nothing coming in before a study counts as complete"
    )
    endpoint: fields.Token | None = Field(default=None, description="Another than the recipient's first")
    clinician: fields.Text | None = Field(default=None, description="Whom the recipient is to give it to")
    alternates: tuple[Alternate, ...] = Field(default=(), description="The first whose condition holds")
    priors: Priors | None = None
    unless_held: bool = Field(default=False, description="Not to a recipient that has the study already")
    completeness: Completeness = Completeness()
    escalate: Escalation | None = None

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if self.match is None and self.when is None:
            raise PydanticCustomError("rule_empty", "needs a condition: match, when, or both")
        return self


class Directory(Part):
    """The whole directory; a version of it is named by its digest."""

    institutions: tuple[Institution, ...] = ()
    groups: tuple[Group, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    rules: tuple[Rule, ...] = ()
