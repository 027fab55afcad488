"""Which earlier studies travel along with one. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from imex.directory import Priors
from imex.sharing.decisions import Addressed
from imex.sharing.model import Study

_BESIDE_IMAGES = frozenset({"SR", "PR", "KO", "DOC", "AU", "REG", "FID", "PLAN"})
"""Modalities that accompany images: to have them in common makes no study a prior."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of a study that might travel along: of the same person, from the same source."""

    study_uid: str
    on: date
    modalities: frozenset[str]

    @classmethod
    def of(cls, study: Study) -> "Earlier":
        """A study as routing keeps it; without a readable Study Date it is of the day it came in."""
        return cls(study.study_uid, day_of(study), study.modalities)


def day_of(study: Study) -> date:
    """The day of a study: its Study Date (0008,0020), else the day on which its first instance came in."""
    try:
        return datetime.strptime(study.study_date.strip(), "%Y%m%d").date()  # noqa: DTZ007 - a date only
    except ValueError:
        return study.first_received_at.date()


def choose(priors: Priors, current: Earlier, known: Iterable[Earlier]) -> tuple[Earlier, ...]:
    """The earlier studies that go along with ``current``, the newest first.

    ``known`` are studies of the same person and source, the current one may be among them. Earlier is what is
    of an earlier day, or of the same day and known: the order of two studies of a day is nobody's. A modality
    in common is one of images; a current study that has none takes what has any of its own.
    """
    since = current.on - timedelta(days=priors.within_days)
    found = [
        one
        for one in known
        if one.study_uid != current.study_uid
        and since <= one.on <= current.on
        and _fits(priors, current.modalities, one.modalities)
    ]
    found.sort(key=lambda one: (-one.on.toordinal(), one.study_uid))
    return tuple(found[: priors.count])


def along(wish: Addressed) -> Addressed:
    """What is asked for each prior of a study that goes by ``wish``.

    The same recipient, purpose, rule and clinician; no more urgent than that it comes with the study, not
    where it is held already, and with no priors of its own. An agreement has to cover each of them by itself.
    """
    return replace(wish, priors=None, escalate=None, unless_held=True, reference=None, quiet_s=None)


def _fits(priors: Priors, current: frozenset[str], earlier: frozenset[str]) -> bool:
    match priors.modality:
        case "any":
            return True
        case "same":
            images = current - _BESIDE_IMAGES or current
            return not images.isdisjoint(earlier)
        case named:
            return not earlier.isdisjoint(named)
