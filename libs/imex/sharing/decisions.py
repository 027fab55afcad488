"""What decisions are made of: wishes, what is known around a study, judgements, and what follows. Values."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from imex.directory import Completeness, Deidentification, Escalation, Marks, Priors, StudyFacts
from imex.events.envelope import Priority
from imex.sharing.model import Origin, Share

_UNKNOWN = Marks()
_QUIET_ONLY = Completeness()


@dataclass(frozen=True, slots=True)
class Returning:
    """Results of a study could go back to who shared it with its source."""

    origin: str
    """The institution that shared it."""
    share: UUID
    """The newest share that brought it."""
    purpose: str
    priority: Priority
    agreement: str | None = None
    quiet_s: int | None = None
    fresh: bool = True
    """Whether there is a result that the origin has not sent itself."""
    mixed: bool = False
    """Whether the results are also about a study that the origin has not shared, but somebody else has."""


@dataclass(frozen=True, slots=True)
class Background:
    """What is known around a study when its shares are decided, beyond what rules see of it.

    As it is made without arguments nobody could look anything up, and decisions fail closed.
    """

    marks: Marks = _UNKNOWN
    """Of the person's record: the national data opt-out, and whether it is sensitive."""
    passed_through: frozenset[str] = frozenset()
    """Institutions from which it came to its source through Imex, by one share or several: rules never
    send it back to them (`imex.sharing.passage.passed_through`)."""
    held_by: frozenset[str] = frozenset()
    """Institutions that have it already: they sent it themselves, or a share of it was delivered to them."""
    results: frozenset[str] = frozenset()
    """Modalities of its results (`imex.sharing.results`): what a share that returns them is judged by."""
    returning: tuple[Returning, ...] = ()
    """Who shared it with its source first, where it has results."""


_NOTHING_KNOWN = Background()
UNMARKED = Background(Marks(opted_out=False, sensitive=False))
"""Of a study of whose person nothing is marked, and that was nowhere before."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """A wish: this study to this recipient, whoever expressed it."""

    recipient: str
    purpose: str
    priority: Priority
    origin: Origin
    rule: str | None = None
    quiet_s: int | None = None
    endpoint: str | None = None
    reference: str | None = None
    clinician: str | None = None
    """Whom the recipient is to give it to; some agreements ask for it."""
    completeness: Completeness = _QUIET_ONLY
    """When the study is whole for this share, beyond the quiet period."""
    escalate: Escalation | None = None
    """When the share becomes more urgent."""
    priors: Priors | None = None
    """Which earlier studies of the person travel along (`imex.sharing.priors`)."""
    alternate_of: str | None = None
    """The recipient in whose place it goes."""
    because: str = ""
    """Why it goes in somebody's place, in words."""
    unless_held: bool = False
    """Not where the recipient has the study already."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a wish may be granted, and by what. `reason` always names the word "agreement"."""

    agreement: str | None
    legal_basis: str | None
    directory_version: str
    reason: str
    asks_recipient: bool = False
    """The endpoint is an inbox that wants each share accepted by a person."""
    controllers: tuple[str, ...] = ()
    """Codes of the institutions that decide why and how the data is processed."""
    processors: tuple[str, ...] = ()
    """Codes of those that process it for a controller."""
    deidentify: Deidentification | None = None
    """Where given, nothing of the study leaves under this share but de-identified."""
    retain: int | Literal["hold"] | None = None
    """Days that payloads stay after the share has ended, or until a person says so; None: the usual."""
    undeliverable: str = ""
    """Why there is nowhere to deliver it, in words: the recipient has no such endpoint."""

    @property
    def covered(self) -> bool:
        """Default deny: only an agreement lets anything leave."""
        return self.agreement is not None


@dataclass(frozen=True, slots=True)
class Open:
    """Make a share."""

    addressed: Addressed
    judgement: Judgement
    episode: int


@dataclass(frozen=True, slots=True)
class Raise:
    """A more urgent rule claims a share of which nothing has been handed over yet."""

    share: Share
    addressed: Addressed


@dataclass(frozen=True, slots=True)
class Widen:
    """A share that returns results is to carry the whole study, as somebody asks for it by name."""

    share: Share
    addressed: Addressed
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Withhold:
    """What has become known of the study, or of its person, is not covered any more."""

    share: Share
    reason: str


@dataclass(frozen=True, slots=True)
class Rest:
    """The agreement that allowed a share covers it no more, but another does, with the same demands."""

    share: Share
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Spared:
    """A wish of a rule that makes no share, and why."""

    addressed: Addressed
    reason: str


@dataclass(frozen=True, slots=True)
class Question:
    """All that decides who gets a study, apart from the directory: what `imex.sharing.decide.consider` asks.

    The same question to the same version of the directory has the same outcome, always and everywhere. One
    that names nobody, neither rules nor recipients, only holds what is under way to what is in force.
    """

    study_uid: str
    facts: StudyFacts
    at: datetime
    passage: int
    standing: bool = False
    """Whether it was sent to the standing rules."""
    recipients: frozenset[str] = frozenset()
    """Codes to which it was sent as called AE title: institutions and groups."""
    background: Background = _NOTHING_KNOWN
    shares: tuple[Share, ...] = ()
    """All of the study's shares, also those that have ended."""
    by_hand: Addressed | None = None
    """What is asked for by itself, by a person or as a prior of another study; then nothing else is."""

    def facts_for(self, origin: Origin) -> StudyFacts:
        """The study as agreements see it under a share of this origin: a return carries results alone."""
        if origin != "return":
            return self.facts
        return replace(self.facts, modalities=self.background.results or self.facts.modalities)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that is decided of a study at one time, in the order in which it is to be done."""

    withheld: tuple[Withhold, ...] = ()
    rested: tuple[Rest, ...] = ()
    planned: tuple[Open | Raise | Widen, ...] = ()
    spared: tuple[Spared, ...] = ()
