"""Questions and answers as they are recorded, so that a decision can be taken again later. Pure.

Routing records every question it asks of the directory, and the answer. `replay` asks a recorded question of
any version: of the recorded one it gives the recorded answer, of a changed one what that would have decided.

A recorded question has two parts. `OpenPart` holds UIDs, ODS codes, DICOM terms and states: no patient data;
it may be kept as JSON wherever decisions are kept. `PersonalPart` holds what may say who it is, which are the
source's own descriptions of the study and its series, and what is marked of the person's record: it belongs
into columns for patient data and is erased with them. A question whose personal part was erased can still be
replayed, and then counts as marked (it fails closed) and as undescribed. An answer quotes the directory,
never the study's texts.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from imex.directory import (
    Completeness,
    Deidentification,
    DirectoryIndex,
    Escalation,
    Marks,
    Part,
    Priors,
    StudyFacts,
)
from imex.events.envelope import Priority
from imex.events.ids import share_id
from imex.events.shares import ShareState
from imex.sharing.decide import consider
from imex.sharing.decisions import (
    Addressed,
    Background,
    Judgement,
    Open,
    Outcome,
    Question,
    Raise,
    Returning,
    Widen,
)
from imex.sharing.model import Origin, Share


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class KnownShare(_Recorded):
    """What a decision looks at of a share that is there already."""

    recipient: str
    purpose: str
    episode: int
    passage: int
    priority: Priority
    origin: Origin
    state: ShareState
    parts: int
    directory_version: str
    rule: str | None = None
    agreement: str | None = None
    clinician: str | None = None
    alternate_of: str | None = None
    deidentified: bool = False
    disposed_at: datetime | None = None

    @classmethod
    def of(cls, share: Share) -> "KnownShare":
        """Leaves out what no decision depends on."""
        return cls.model_construct(**{name: getattr(share, name) for name in cls.model_fields})

    def share(self, source: str, study_uid: str, at: datetime) -> Share:
        """A share that decisions treat as the one it was made of."""
        identifier = share_id(source, study_uid, self.recipient, self.purpose, self.episode)
        return Share(
            id=identifier, source=source, study_uid=study_uid, created_at=at, updated_at=at, **dict(self)
        )


class RecordedWish(_Recorded):
    """A wish that is asked for by itself, by a person or for a prior; without its reference."""

    recipient: str
    purpose: str
    priority: Priority
    origin: Origin
    rule: str | None = None
    quiet_s: int | None = None
    endpoint: str | None = None
    clinician: str | None = None
    completeness: Completeness = Completeness()
    escalate: Escalation | None = None
    priors: Priors | None = None
    alternate_of: str | None = None
    because: str = ""
    unless_held: bool = False

    @classmethod
    def of(cls, wish: Addressed) -> "RecordedWish":
        """Leaves out the reference, which is the asker's own text."""
        return cls.model_construct(**{name: getattr(wish, name) for name in cls.model_fields})

    def wish(self) -> Addressed:
        """The wish again."""
        return Addressed(**dict(self))


class OpenPart(_Recorded):
    """The part of a question without patient data."""

    format: Literal[1] = 1
    source: str
    study_uid: str
    directory_version: str
    at: datetime
    passage: int
    standing: bool
    recipients: tuple[str, ...] = ()
    called_ae: str = ""
    modalities: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    passed_through: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    returning: tuple[Returning, ...] = ()
    shares: tuple[KnownShare, ...] = ()
    by_hand: RecordedWish | None = None


class PersonalPart(_Recorded):
    """The part of a question that may say who it is, or what is marked of the person. Never log it."""

    description: str = ""
    series_descriptions: tuple[str, ...] = ()
    opted_out: bool | None = None
    sensitive: bool | None = None


class RecordedQuestion(_Recorded):
    """A question, and which version of the directory was asked."""

    open: OpenPart
    personal: PersonalPart = PersonalPart()

    @classmethod
    def of(cls, question: Question, directory_version: str) -> Self:
        """`question` as it was asked of the version."""
        facts, background = question.facts, question.background
        return cls(
            open=OpenPart(
                source=facts.source,
                study_uid=question.study_uid,
                directory_version=directory_version,
                at=question.at,
                passage=question.passage,
                standing=question.standing,
                recipients=tuple(sorted(question.recipients)),
                called_ae=facts.called_ae,
                modalities=tuple(sorted(facts.modalities)),
                sop_classes=tuple(sorted(facts.sop_classes)),
                body_parts=tuple(sorted(facts.body_parts)),
                passed_through=tuple(sorted(background.passed_through)),
                held_by=tuple(sorted(background.held_by)),
                results=tuple(sorted(background.results)),
                returning=background.returning,
                shares=tuple(KnownShare.of(share) for share in question.shares),
                by_hand=RecordedWish.of(question.by_hand) if question.by_hand else None,
            ),
            personal=PersonalPart(
                description=facts.description,
                series_descriptions=tuple(sorted(facts.series_descriptions)),
                opted_out=background.marks.opted_out,
                sensitive=background.marks.sensitive,
            ),
        )

    def question(self) -> Question:
        """The question again, with shares that hold what decisions look at."""
        said, personal = self.open, self.personal
        return Question(
            study_uid=said.study_uid,
            facts=StudyFacts(
                source=said.source,
                modalities=frozenset(said.modalities),
                sop_classes=frozenset(said.sop_classes),
                body_parts=frozenset(said.body_parts),
                description=personal.description,
                series_descriptions=frozenset(personal.series_descriptions),
                called_ae=said.called_ae,
            ),
            at=said.at,
            passage=said.passage,
            standing=said.standing,
            recipients=frozenset(said.recipients),
            background=Background(
                Marks(opted_out=personal.opted_out, sensitive=personal.sensitive),
                passed_through=frozenset(said.passed_through),
                held_by=frozenset(said.held_by),
                results=frozenset(said.results),
                returning=said.returning,
            ),
            shares=tuple(known.share(said.source, said.study_uid, said.at) for known in said.shares),
            by_hand=said.by_hand.wish() if said.by_hand else None,
        )


Action = Literal["share", "refuse", "raise", "widen", "withhold", "rest", "spare"]


class Decided(_Recorded):
    """One decision of an answer: what becomes of a study for one recipient and purpose, and why."""

    action: Action
    recipient: str
    purpose: str
    priority: Priority
    episode: int | None = None
    origin: Origin
    rule: str | None = None
    alternate_of: str | None = None
    agreement: str | None = None
    reason: str = ""
    terms: dict[str, JsonValue] = Field(default_factory=dict)
    """What else rule and agreement ask for, where they do: endpoint, clinician, quiet_s, completeness,
    escalate, priors, unless_held, controllers, processors, deidentify, asks_recipient."""

    @property
    def lets_it_go(self) -> bool:
        """Whether the recipient gets the study by it."""
        return self.action in {"share", "raise", "widen", "rest"}


class Answer(_Recorded):
    """Everything that was decided of one question, in order."""

    decided: tuple[Decided, ...] = ()

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """As JSON can hold it, without patient data."""
        withheld = [_of_share("withhold", one.share, one.reason) for one in outcome.withheld]
        rested = [_of_share("rest", one.share, one.judgement.reason, one.judgement) for one in outcome.rested]
        planned = [_planned(one) for one in outcome.planned]
        spared = [_of_wish("spare", one.addressed, one.reason) for one in outcome.spared]
        return cls(decided=(*withheld, *rested, *planned, *spared))


def replay(index: DirectoryIndex, recorded: RecordedQuestion) -> Answer:
    """What the version behind `index` decides of a recorded question. Nothing is sent."""
    return Answer.of(consider(index, recorded.question()))


def _planned(decision: Open | Raise | Widen) -> Decided:
    if isinstance(decision, Widen):
        wish, judgement = decision.addressed, decision.judgement
        reason = f"carries the whole study from now on; {judgement.reason}"
        return _of_wish("widen", wish, reason, episode=decision.share.episode, agreement=judgement.agreement)
    if isinstance(decision, Raise):
        wish, share = decision.addressed, decision.share
        reason = f"raised from {share.priority} to {wish.priority} by standing rule {wish.rule}"
        return _of_wish("raise", wish, reason, episode=share.episode, agreement=share.agreement)
    judgement = decision.judgement
    return _of_wish(
        "share" if judgement.covered else "refuse",
        decision.addressed,
        judgement.reason,
        episode=decision.episode,
        agreement=judgement.agreement,
        more=_demands(judgement),
    )


def _of_wish(
    action: Action,
    wish: Addressed,
    reason: str,
    *,
    episode: int | None = None,
    agreement: str | None = None,
    more: Iterable[tuple[str, Any]] = (),
) -> Decided:
    terms = (
        ("because", wish.because),
        ("endpoint", wish.endpoint),
        ("clinician", wish.clinician),
        ("quiet_s", wish.quiet_s),
        ("completeness", _plain(wish.completeness)),
        ("escalate", _plain(wish.escalate)),
        ("priors", _plain(wish.priors)),
        ("unless_held", wish.unless_held),
        *more,
    )
    return Decided(
        action=action,
        recipient=wish.recipient,
        purpose=wish.purpose,
        priority=wish.priority,
        episode=episode,
        origin=wish.origin,
        rule=wish.rule,
        alternate_of=wish.alternate_of,
        agreement=agreement,
        reason=reason,
        terms={name: value for name, value in terms if value or (value == 0 and value is not False)},
    )


def _of_share(action: Action, share: Share, reason: str, judgement: Judgement | None = None) -> Decided:
    return Decided(
        action=action,
        recipient=share.recipient,
        purpose=share.purpose,
        priority=share.priority,
        episode=share.episode,
        origin=share.origin,
        rule=share.rule,
        agreement=judgement.agreement if judgement else share.agreement,
        reason=reason,
        terms={name: value for name, value in _demands(judgement) if value} if judgement else {},
    )


def _demands(judgement: Judgement) -> list[tuple[str, Any]]:
    return [
        ("asks_recipient", judgement.asks_recipient),
        ("controllers", list(judgement.controllers)),
        ("processors", list(judgement.processors)),
        ("deidentify", _deidentify(judgement.deidentify)),
        ("undeliverable", judgement.undeliverable),
    ]


def _deidentify(demanded: Deidentification | None) -> dict[str, Any]:
    return {"project": demanded.project, **_plain(demanded)} if demanded else {}


def _plain(part: Part | None) -> dict[str, Any]:
    """Without what is as by default."""
    return part.model_dump(mode="json", by_alias=True, exclude_defaults=True) if part else {}
