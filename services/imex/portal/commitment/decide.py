"""Whether an instance is committed, from what is known of it. Pure.

Imex deletes on schedule, and a sender may delete its only copy on a yes: so there is none unless an archive
has said so, by a storage commitment of its own, of exactly the bytes that this sender sent last. Whatever
is not known for certain is no.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from imex.dicom.commitment import FailureReason, Reference

_LEFT: Final = frozenset({"accepted", "released", "duplicated"})
"""Judgements of validation after which a copy may leave."""
_ENDED_HERE: Final = frozenset({"refused", "discarded"})


@dataclass(frozen=True, slots=True)
class Copy:
    """One time that an instance came in, as validation judged it."""

    digest: str
    judgement: str
    """accepted | quarantined | refused | duplicated | released | discarded."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What became of an instance in one delivery."""

    digest: str
    """Of what was received."""
    sop_class_uid: str
    confirmed: bool
    """It is confirmed as delivered at this moment."""
    receipt_commits: bool
    """The newest signed receipt says of this digest that a storage commitment confirmed it."""
    changed: bool
    """What was sent is not, byte by byte, what was received; or the share is de-identified."""
    revoked: bool
    """The share was taken back by a person, or lost its agreement."""
    rivalled: bool
    """Other bytes were handed to the same recipient under this UID, by whomever."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one SOP Instance UID, of this institution as source."""

    copies: Sequence[Copy]
    """The newest first."""
    sop_classes: frozenset[str]
    """Under which its newest copy is known; empty while it is nowhere but in validation."""
    passed: Sequence[Passed]
    recalled: bool
    """The source has taken it back once, or has announced so by a rejection note."""
    stuck: bool
    """A record of its study could not be handled: what came may not all be known."""
    under_way: bool
    """Something of its study is still to be decided, delivered, or put on a receipt."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`committed` without a reason; else a reason, in words too, unless `pending`: nobody can say yet."""

    committed: bool = False
    reason: FailureReason | None = None
    words: str = ""

    @property
    def pending(self) -> bool:
        """Whether a later look may find it committed."""
        return not self.committed and self.reason is None


COMMITTED: Final = Verdict(committed=True)


def decide(reference: Reference, known: Known | None, *, read: bool, over: bool) -> Verdict:
    """The verdict on one reference.

    `read`: all that had come in when the question was asked has been judged, so that the newest copy that is
    known is the newest copy. `over`: it is time to answer, and what is not committed by now is no.
    """
    verdict = _decide(reference, known, read=read)
    if over and verdict.pending:
        missing = known is None or not known.copies
        return _no(FailureReason.NO_SUCH_OBJECT_INSTANCE if missing else _FAILED, verdict.words)
    return verdict


def downgraded(before: Sequence[Verdict], now: Sequence[Verdict]) -> list[Verdict]:
    """What may be said of what was decided before: a yes that is no yes any more is no."""
    return [
        one if not one.committed or again.committed else _no(again.reason or _FAILED, again.words)
        for one, again in zip(before, now, strict=True)
    ]


_FAILED: Final = FailureReason.PROCESSING_FAILURE


def _decide(reference: Reference, known: Known | None, *, read: bool) -> Verdict:
    if known is None or not known.copies:
        words = "it was not received from you"
        return _no(FailureReason.NO_SUCH_OBJECT_INSTANCE, words) if read else Verdict(words=words)
    last = known.copies[0]
    if (ruled_out := _ruled_out(reference, known, last)) is not None:
        return ruled_out
    if last.judgement not in _LEFT:
        return Verdict(words="it waits in quarantine")
    if not any(_vouches(one, reference, last) for one in known.passed):
        words = _why_not(known.passed, last)
        return Verdict(words=words) if known.under_way else _no(_FAILED, words)
    if known.stuck:
        return Verdict(words="a record of its study could not be handled")
    return COMMITTED if read else Verdict(words="what came in before the question is still being read")


def _ruled_out(reference: Reference, known: Known, last: Copy) -> Verdict | None:
    """The no that nothing later can change; None where there is none."""
    if known.sop_classes and reference.sop_class_uid not in known.sop_classes:
        return _no(FailureReason.CLASS_INSTANCE_CONFLICT, "it was received under another SOP class")
    if known.recalled:
        return _no(_FAILED, "it was recalled")
    if len({copy.digest for copy in known.copies if copy.judgement in _LEFT}) > 1:
        # a commitment names a UID, not bytes: of which of them it speaks nobody can say
        return _no(_FAILED, "several versions of it were received")
    if last.judgement in _ENDED_HERE:
        return _no(FailureReason.NO_SUCH_OBJECT_INSTANCE, f"what you sent last was {last.judgement}")
    return None


def _vouches(one: Passed, reference: Reference, last: Copy) -> bool:
    return (
        one.digest == last.digest
        and one.sop_class_uid == reference.sop_class_uid
        and one.confirmed
        and one.receipt_commits
        and not one.changed
        and not one.revoked
        and not one.rivalled
    )


def _why_not(passed: Sequence[Passed], last: Copy) -> str:
    """The nearest miss, in words."""
    its = [one for one in passed if one.digest == last.digest]
    committed = [one for one in its if one.confirmed and one.receipt_commits]
    if any(one.revoked for one in committed):
        return "the share with the archive that committed it was revoked"
    if any(one.changed for one in committed):
        return "what an archive committed was changed on the way"
    if any(one.rivalled for one in committed):
        # a commitment names a UID, not bytes
        return "the archive that committed it was sent other data under the same UID too"
    if any(one.confirmed for one in its):
        return "no archive that received it has committed it"
    return "no archive has it yet" if its else "it was not handed to any archive"


def _no(reason: FailureReason, words: str) -> Verdict:
    return Verdict(reason=reason, words=words)
