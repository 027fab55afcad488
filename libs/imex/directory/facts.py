"""What the pure functions of the directory take and give."""

from dataclasses import dataclass
from enum import StrEnum

from imex.directory.model import Agreement, Institution, Rule


class Lane(StrEnum):
    """Which topics carry a study's events; express overtakes urgent, and urgent overtakes bulk."""

    EXPRESS = "express"
    URGENT = "urgent"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """A study as rules see it. Descriptions are the source's own words, maybe personal: never log them."""

    source: str
    modalities: frozenset[str] = frozenset()
    sop_classes: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()
    description: str = ""
    series_descriptions: frozenset[str] = frozenset()
    called_ae: str = ""


@dataclass(frozen=True, slots=True)
class Marks:
    """What is marked of a person's record; None where it could not be looked up, and then it counts as so."""

    opted_out: bool | None = None
    """Of the national data opt-out."""
    sensitive: bool | None = None


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """What one rule says of one study, and why; the reasons quote the rule, never the study's texts."""

    rule: Rule
    matched: bool
    reasons: tuple[str, ...]
    recipients: tuple[str, ...]
    """Institutions it would go to, groups expanded, without the source; empty where it does not match."""


@dataclass(frozen=True, slots=True)
class IdentifiedSender:
    """A sender that was identified."""

    institution: Institution


class WhyUnknown(StrEnum):
    """Why a sender was not identified."""

    UNKNOWN_AE_TITLE = "unknown_ae_title"
    WRONG_NETWORK = "wrong_network"
    AMBIGUOUS = "ambiguous"
    UNKNOWN_CERTIFICATE = "unknown_certificate"
    OTHER_CERTIFICATE = "other_certificate"


@dataclass(frozen=True, slots=True)
class UnknownSender:
    """Nobody, or more than one, may send under this AE title from this address with this certificate."""

    why: WhyUnknown
    words: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The called AE title asks for the standing rules."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """The called AE title names an institution or a group."""

    code: str


@dataclass(frozen=True, slots=True)
class UnknownCalled:
    """The called AE title means nothing here."""

    called_ae: str
    words: str


Called = Standing | Recipient | UnknownCalled


@dataclass(frozen=True, slots=True)
class Coverage:
    """The agreement that covers a share, or in words why none does."""

    agreement: Agreement | None
    words: str
    """Always contains the word "agreement"; fit for a share's reason and, its beginning, an Error Comment."""
    near_misses: tuple[str, ...] = ()
