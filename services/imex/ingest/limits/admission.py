"""Pure: whether one more association may be let in, from what is known of all processes."""

from dataclasses import dataclass
from enum import Enum

from imex.ingest.limits.ledger import DOUBT, reserve
from imex.ingest.limits.shares import part


class Step(Enum):
    """What to do about a request for an association."""

    TAKE = "take"
    """There is plenty of room: let it in, and say so afterwards."""
    ASK = "ask"
    """Let the topic decide."""
    EVERYBODY_FULL = "everybody"
    INSTITUTION_FULL = "institution"


@dataclass(frozen=True, slots=True)
class Count:
    """One limit and what is used of it; `limit` 0 stands for none.

    `used` is what all processes are known to hold, `own` this process's part of it, and `doubt` what this
    process has said and not read back yet. `open`: the ledger lets places be taken at once.
    """

    limit: int
    used: int
    own: int = 0
    doubt: int = 0
    open: bool = True


_RESERVE = 4  # the last quarter of a limit is given out by the topic alone


def judge(everybody: Count, institution: Count, live: int) -> Step:
    """What to do where the topic is read as it is written; `live` processes are known, this one included.

    Taking at once is safe while there is room for what every process may have taken and not said yet.
    """
    if not everybody.limit and not institution.limit:
        return Step.TAKE
    if _full(institution):
        return Step.INSTITUTION_FULL
    if _full(everybody):
        return Step.EVERYBODY_FULL
    plenty = _plenty(institution, live) and _plenty(everybody, live)
    return Step.TAKE if plenty and everybody.doubt < DOUBT else Step.ASK


def judge_alone(everybody: Count, institution: Count, open_: Count, live: int, rank: int) -> Step:
    """What to do while the topic cannot be read or written.

    `used` and `own` are as last known. What was free then is divided among those that lived then; as all of
    them do the same, they stay within the limit together. `open_` is what this process holds now: `used` of
    all institutions, `own` of the one that asks.
    """
    if institution.limit and open_.own >= _ceiling(institution, live, rank):
        return Step.INSTITUTION_FULL
    if everybody.limit and open_.used >= _ceiling(everybody, live, rank):
        return Step.EVERYBODY_FULL
    return Step.TAKE


def _full(count: Count) -> bool:
    return bool(count.limit) and count.used >= count.limit


def _plenty(count: Count, live: int) -> bool:
    kept = max(reserve(live), count.limit // _RESERVE)
    return not count.limit or (count.open and count.used + count.doubt + kept <= count.limit)


def _ceiling(count: Count, live: int, rank: int) -> int:
    return count.own + part(max(0, count.limit - count.used), max(live, 1), rank)
