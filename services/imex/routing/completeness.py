"""When a study is complete for a share, and what its delivery has come to. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from imex.routing import studies
from imex.routing.carrying import carried
from imex.routing.states import Fact
from imex.sharing.model import Share, Study


@dataclass(frozen=True, slots=True)
class Closing:
    """What a look at a due study has found."""

    complete: tuple[Share, ...]
    next_due: datetime | None
    """When to look again; None when the study is closed."""


_NOT_YET = timedelta(seconds=1)


def grace_ends(study: Study, association_grace_s: float) -> datetime:
    """When an association without an end stops keeping its study open."""
    return study.seen_at + timedelta(seconds=association_grace_s)


def closing(
    study: Study,
    shares: Collection[Share],
    *,
    read_through: datetime,
    open_associations: bool,
    default_quiet_s: float,
    association_grace_s: float,
    judged: bool = True,
    lacking_series: Collection[UUID] = (),
) -> Closing:
    """Which shares of a study are complete.

    The only clock is the time through which the study's partition has been read: with a backlog it stands
    still, so that a half-read study cannot close. While an association is open a study stays open, for at
    most the grace: an association whose end is never heard of must not keep it for ever. The grace counts
    only once validation has `judged` what was received in it: a backlog there is no silence of the sender's.
    What is firm (`studies.whole`) waits for no association. `lacking_series` are shares of which a required
    series is not there.
    """
    held_until = grace_ends(study, association_grace_s)
    open_until: datetime | None = None
    if open_associations and read_through < held_until:
        open_until = min(held_until, read_through + _NOT_YET)
    elif open_associations and not judged:
        open_until = read_through + _NOT_YET
    ready: list[Share] = []
    later: list[datetime] = [] if open_until is None else [open_until]
    for share in shares:
        if share.complete or share.state not in _OPEN:
            continue
        whole = studies.whole(study, share, default_quiet_s, series_there=share.id not in lacking_series)
        if read_through < whole.at:
            later.append(whole.at)
        elif open_until is None or whole.firm:
            ready.append(share)
    if not ready and not later:
        at = study.seen_at + timedelta(seconds=default_quiet_s)
        if read_through < at:
            later.append(at)
    return Closing(tuple(ready), min(later, default=None))


_OPEN = frozenset({"collecting", "delivering", "delivered", "partial"})


def settled(study: Study, share: Share) -> Fact | None:
    """Whether everything received has come to an end for this share; None while it has not.

    Nothing is said before the manifest is closed and holds every accepted instance of the study that the
    share carries, but for those in dispute.
    """
    study = carried(study, share)
    leaving = study.validated - study.disputed
    if not share.complete or share.handed < leaving:
        return None
    if share.confirmed + share.failed < share.handed - study.disputed:
        return None
    if share.confirmed == study.validated == study.received:
        return Fact.WHOLE
    return Fact.SHORT


def missing(study: Study, share: Share) -> int:
    """Instances received that the share carries and the recipient has not confirmed."""
    return carried(study, share).received - share.confirmed


def missing_words(
    study: Study, share: Share, held_reasons: Sequence[str], failed_reasons: Sequence[str], recalled: int = 0
) -> str:
    """What a partial share lacks and why, for people; reasons come without patient data.

    `recalled` are instances that it lacks because their sender has taken them back.
    """
    study = carried(study, share)
    total = study.received
    parts: list[str] = []
    if study.waiting:
        parts.append(_with(f"{study.waiting} in quarantine", held_reasons))
    if study.discarded:
        parts.append(f"{study.discarded} discarded from quarantine")
    if study.lost:
        parts.append(f"{study.lost} received and not processed (see the dead letters)")
    if recalled:
        parts.append(f"{recalled} recalled by {share.source}")
    unconfirmed = study.validated - share.confirmed - recalled
    if unconfirmed > 0:
        parts.append(_with(f"{unconfirmed} not accepted by {share.recipient}", failed_reasons))
    lacking = study.received - share.confirmed
    return f"{lacking} of {total} instance{'' if total == 1 else 's'} missing: {', '.join(parts)}"


_MOST_REASONS = 3


def _with(words: str, reasons: Sequence[str]) -> str:
    told = [reason for reason in dict.fromkeys(reasons) if reason][:_MOST_REASONS]
    return f"{words} ({'; '.join(told)})" if told else words
