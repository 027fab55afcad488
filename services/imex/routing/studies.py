"""How a study's row grows with what is heard of it. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from imex.events import Identity
from imex.events.instances import InstanceFacts
from imex.routing.states import SETTLED_STATES
from imex.sharing.model import Share, Study
from imex.sharing.results import RESULT_CLASSES

MOST_REFERENCED = 15
"""Studies that are remembered of those that a study's results refer to. With as many there may be more, of
which it is not known whose they are: one less than is read of an instance, which may name its own."""
STUDY_KEPT = timedelta(days=14)
"""How long a study waits for a recipient, and a share for its delivery."""


def first_seen(facts: InstanceFacts, topic: str, partition: int, recorded_at: datetime) -> Study:
    """A study of which this is the first that routing hears."""
    return Study(
        source=facts.source,
        study_uid=facts.study_uid,
        lane=facts.lane,
        topic=topic,
        partition=partition,
        first_received_at=facts.received_at,
        last_activity_at=facts.received_at,
        seen_at=recorded_at,
        expires_at=facts.received_at + STUDY_KEPT,
    )


def heard(study: Study, facts: InstanceFacts, recorded_at: datetime, *, by_new_association: bool) -> Study:
    """Any event of one of its instances: activity, and how it was addressed.

    A new association after the study was closed is a new passage: somebody sends it once more. Once its
    payloads are gone it begins anew. What Imex has fetched itself nobody sent: it is addressed to no
    rule, and opens no passage.
    """
    again = by_new_association and study.closed_at is not None and study.due_at is None
    anew = study.disposed_at is not None
    return replace(
        study,
        first_received_at=facts.received_at if anew else min(study.first_received_at, facts.received_at),
        first_validated_at=None if anew else study.first_validated_at,
        last_activity_at=max(study.last_activity_at, facts.received_at),
        seen_at=max(study.seen_at, recorded_at),
        standing=study.standing or (facts.recipient is None and not facts.retrieved),
        recipients=study.recipients | ({facts.recipient} if facts.recipient else frozenset()),
        called_ae=study.called_ae or facts.called_ae,
        passage=study.passage + 1 if again and not facts.retrieved else study.passage,
        closed_at=None if again else study.closed_at,
        expired_at=None if again else study.expired_at,
        expires_at=recorded_at + STUDY_KEPT if again else study.expires_at,
        stated_instances=facts.stated_instances or study.stated_instances,
        retention_at=None,
        disposed_at=None,
    )


def accepted(study: Study, facts: InstanceFacts, identity: Identity | None, recorded_at: datetime) -> Study:
    """An instance that is new to the study was accepted. `identity` where it was opened."""
    grown = replace(
        study,
        validated=study.validated + 1,
        bytes=study.bytes + facts.size,
        first_validated_at=study.first_validated_at or recorded_at,
        modalities=study.modalities | _word(facts.modality),
        sop_classes=study.sop_classes | _word(facts.sop_class_uid),
        body_parts=study.body_parts | _word(facts.body_part),
        referenced=_referenced(study, facts),
    )
    if identity is None:
        return grown
    return replace(
        grown,
        patient_id=grown.patient_id or identity.patient_id,
        issuer=grown.issuer or identity.issuer,
        patient_name=grown.patient_name or identity.patient_name,
        birth_date=grown.birth_date or identity.birth_date,
        accession=grown.accession or identity.accession,
        study_date=grown.study_date or identity.study_date,
        study_description=grown.study_description or identity.study_description,
        series_descriptions=grown.series_descriptions | _word(identity.series_description),
    )


def _referenced(study: Study, facts: InstanceFacts) -> frozenset[str]:
    """What its results refer to; a study that refers to more is told of the first ones."""
    if not facts.referenced_studies or facts.sop_class_uid not in RESULT_CLASSES:
        return study.referenced
    room = MOST_REFERENCED - len(study.referenced)
    new = [uid for uid in facts.referenced_studies if uid not in study.referenced]
    return study.referenced | frozenset(new[:room])


def _word(value: str) -> frozenset[str]:
    return frozenset({value}) if value else frozenset()


@dataclass(frozen=True, slots=True)
class _Telling:
    """What decides who gets a study."""

    modalities: frozenset[str]
    sop_classes: frozenset[str]
    body_parts: frozenset[str]
    description: str
    series_descriptions: frozenset[str]
    standing: bool
    recipients: frozenset[str]
    passage: int
    referenced: frozenset[str]
    patient: tuple[str, str]
    """Of whom marks of the record are looked up."""


def _telling(study: Study) -> _Telling:
    return _Telling(
        modalities=study.modalities,
        sop_classes=study.sop_classes,
        body_parts=study.body_parts,
        description=study.study_description,
        series_descriptions=study.series_descriptions,
        standing=study.standing,
        recipients=study.recipients,
        passage=study.passage,
        referenced=study.referenced,
        patient=(study.issuer, study.patient_id),
    )


def needs_evaluation(before: Study | None, after: Study, version: str, *, arrivals: bool) -> bool:
    """Whether the rules are to be asked: something that they look at has changed.

    A study without an accepted instance is not evaluated: what is in quarantine may be wrong about itself.
    A newer directory counts when something has arrived, not when a person released something.
    """
    if after.validated == 0:
        return False
    if before is None or before.validated == 0 or _telling(before) != _telling(after):
        return True
    return arrivals and after.evaluated_version != version


def due(study: Study, shares: Collection[Share], default_quiet_s: float) -> datetime:
    """When the first of the open shares may count as complete, unless something comes in before."""
    waiting = [share for share in shares if share.live and not share.complete]
    quiet = study.seen_at + timedelta(seconds=default_quiet_s)
    return min((whole(study, share, default_quiet_s).at for share in waiting), default=quiet)


def due_again(study: Study, share: Share) -> Study:
    """A closed study is looked at once more, so that a new share of it is handed over."""
    if share.complete or not share.live or share.state == "requested" or study.due_at is not None:
        return study
    return replace(study, due_at=study.seen_at)


@dataclass(frozen=True, slots=True)
class Whole:
    """When a study counts as whole for a share."""

    at: datetime
    firm: bool = False
    """Also while an association is open, and whatever else lacks."""


def whole(study: Study, share: Share, default_quiet_s: float, *, series_there: bool = True) -> Whole:
    """When a study is whole for a share, if nothing more comes.

    In the order of their force: a person said so; the cap of its rule has come; as many instances are there
    as the sender states; nothing has come for the quiet period, with the series that the rule requires. A
    late instance begins a new revision, for which the quiet period alone counts, or a person.
    """
    first = share.delivery_revision == 0
    asked = share.completion_asked_at
    if asked is not None and (first or asked >= study.seen_at):
        return Whole(study.seen_at, firm=True)
    if first and share.by_expected and study.stated_instances and study.received == study.stated_instances:
        return Whole(study.seen_at, firm=True)
    quiet = STUDY_KEPT if first and not series_there else timedelta(seconds=quiet_of(share, default_quiet_s))
    at = study.seen_at + quiet
    if first and share.at_most_s is not None:
        cap = study.first_received_at + timedelta(seconds=share.at_most_s)
        if cap <= at:
            return Whole(cap, firm=True)
    return Whole(at)


def finished(study: Study, shares: Collection[Share], at: datetime) -> Study:
    """What a study's shares say about it, after anything has happened to them.

    A study expires only while nothing addresses it, or nothing but its results; its passage has ended once it
    is closed and nothing is under way for any of its shares.
    """
    addressed = any(share.origin != "return" or not share.left_out for share in shares)
    ended = study.due_at is None and all(share.state in SETTLED_STATES for share in shares)
    return replace(
        study,
        expires_at=None if addressed else study.expires_at or study.first_received_at + STUDY_KEPT,
        expired_at=None if addressed else study.expired_at,
        settled_at=(study.settled_at or at) if ended else None,
    )


def quiet_of(share: Share, default_quiet_s: float) -> float:
    """Seconds without anything new after which this share's study counts as complete."""
    return default_quiet_s if share.quiet_s is None else share.quiet_s
