"""Delivery's decisions: what an answer means, when to try again, how a delivery ends. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, get_args

from imex.events import Priority

PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)
LIFETIME: Final = timedelta(days=14)
"""How long a delivery is tried."""
FIRST_HOUR: Final = timedelta(hours=1)
FIRST_HOUR_STEPS_S: Final = (2.0, 4.0, 8.0, 15.0, 30.0, 45.0)
LATER_SHARE: Final = 0.05
"""After the first hour the wait is this part of how long the delivery has been failing."""
LONGEST_WAIT: Final = timedelta(minutes=30)
JITTER: Final = 0.2
"""A wait is shortened by up to this part, so that deliveries to one destination do not march in step."""

BREAKER_DELIVERIES: Final = 3
"""So many different deliveries in a row that got nothing through mean that the destination is away."""
PROBE_STEPS_S: Final = (2.0, 4.0, 8.0, 15.0)
"""Between probes in the first hour."""
TURNS_S: Final = 50.0
"""In the first hour each delivery that has failed has its turn at probing in this time: in a minute."""
SHORTEST_PROBE: Final = timedelta(seconds=1)
EMERGENCY_PROBE: Final = timedelta(seconds=10)
"""After this long since the last one failed, an emergency may be the next probe whatever the back-off."""

MAX_REPEATS: Final = 5
"""An instance is given up after so many answers that may pass, when also an hour went by without progress."""
FULL_IN_A_ROW: Final = 3
"""So many `out of resources` in a row mean that the destination is full, not that one instance is big."""
MAX_CONTEXTS: Final = 128
"""Presentation context ids are the odd numbers of one byte (PS3.8 section 9.3.2.2)."""


class Verdict(StrEnum):
    """What becomes of an instance."""

    CONFIRMED = "confirmed"
    FAILED = "failed"
    RETRY = "retry"
    SENT = "sent"
    """The destination has answered that it took it, and has to be asked whether it is there."""
    UNSURE = "unsure"
    """It may be there: nobody was told, and the destination has to be asked."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an instance lies for readers of an inbox."""

    object_key: str
    sop_instance_uid: str
    """Under which they know it."""
    size: int
    """Bytes of the data set that they get."""
    digest: str
    """Of the same."""
    own: bool
    """The object was written for them, as what leaves was changed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one instance after it was, or could not be, sent."""

    verdict: Verdict
    status: str
    """The destination's own, `0x0000`; empty when there was none."""
    reason: str = ""
    full: bool = False
    """The destination said that it is out of resources."""
    delivered_digest: str = ""
    """Of what was sent, where that is not what is stored."""
    changes: tuple[str, ...] = ()
    """What was changed on the way out, in words."""
    placed: Placed | None = None
    """Where it was put, where the destination is an inbox."""
    sent_as: tuple[str, str] | None = None
    """Study and SOP Instance UID under which it was sent, where these are not its own."""


def judge_status(status: int, words: str) -> Answer:
    """What a C-STORE status means (PS3.4 table B.2-1, PS3.7 annex C); `words` are the status in words.

    Success and every warning say that the destination holds the instance. Out of resources (A7xx) and a
    processing failure (0110) may pass; any other failure is about the instance and would come again.
    """
    code = f"0x{status:04X}"
    if status == 0x0000:
        return Answer(Verdict.CONFIRMED, code)
    if status in {0x0001, 0x0107, 0x0116} or status >> 12 == 0xB:
        return Answer(Verdict.CONFIRMED, code, f"stored with a warning: {words}")
    if status >> 8 == 0xA7:
        return Answer(Verdict.RETRY, code, words, full=True)
    if status == 0x0110:
        return Answer(Verdict.RETRY, code, words)
    return Answer(Verdict.FAILED, code, f"refused by the destination: {words}")


def settled(answer: Answer, *, sent_before: int, failing_for: timedelta) -> Answer:
    """The answer, or a failure when it is the instance, and not the destination, that is the trouble.

    A full destination and a lost association are waited out as long as the delivery lives, with the
    instance behind all others. An instance that is answered with a failure again and again for an hour in
    which nothing else got through is given up. `sent_before` counts earlier times.
    """
    passing = answer.verdict is not Verdict.RETRY or answer.full or not answer.status
    if passing or sent_before + 1 < MAX_REPEATS or failing_for < FIRST_HOUR:
        return answer
    return Answer(Verdict.FAILED, answer.status, f"given up after {sent_before + 1} times: {answer.reason}")


def backoff(failures: int, failing_for: timedelta, draw: float) -> timedelta:
    """How long to wait after `failures` attempts in a row without progress (at least 1).

    At most 60 s while it has been failing for less than an hour, at most 30 min for ever; `draw` is
    uniform in [0, 1) and spreads the waits.
    """
    if failing_for < FIRST_HOUR:
        step = FIRST_HOUR_STEPS_S[min(max(failures, 1), len(FIRST_HOUR_STEPS_S)) - 1]
        longest = timedelta(seconds=step)
    else:
        longest = min(failing_for * LATER_SHARE, LONGEST_WAIT)
    return longest * (1 - JITTER * draw)


def probe_wait(probes: int, failing_for: timedelta, draw: float, turns: int = 1) -> timedelta:
    """How long a destination is left alone after so many probes in vain; `draw` as in `backoff`.

    `turns` is how many deliveries take turns at probing: those that have failed there.
    """
    if failing_for >= FIRST_HOUR:
        return backoff(probes, failing_for, draw)
    step = min(PROBE_STEPS_S[min(max(probes, 1), len(PROBE_STEPS_S)) - 1], TURNS_S / max(turns, 1))
    return max(timedelta(seconds=step) * (1 - JITTER * draw), SHORTEST_PROBE)


@dataclass(frozen=True, slots=True)
class Failing:
    """How a delivery has been failing: attempts in a row without progress, and since when."""

    failures: int = 0
    since: datetime | None = None


def next_failing(before: Failing, *, now: datetime, progressed: bool) -> Failing:
    """After one more attempt that left something: progress starts the count anew."""
    if progressed or before.since is None:
        return Failing(1, now)
    return Failing(before.failures + 1, before.since)


def next_attempt_at(failing: Failing, *, now: datetime, expires_at: datetime, draw: float) -> datetime:
    """When to try again; at the latest when the delivery expires, so that its end is noticed then."""
    since = failing.since or now
    return min(now + backoff(failing.failures, now - since, draw), max(expires_at, now))


@dataclass(frozen=True, slots=True)
class Tally:
    """A delivery's instances by state, and what is known of its manifest."""

    waiting: int
    confirmed: int
    failed: int
    parts_come: int
    parts: int | None
    """How many parts the closed manifest has; None while it is open."""
    revision: int
    """Of the closed manifest."""
    receipt_revision: int
    """Of the newest receipt."""
    receipt_due: bool
    sent: int = 0
    """Handed over, and not confirmed yet."""

    @property
    def next_receipt(self) -> int:
        """Revisions only grow: with the manifest's, and with a retry of what had failed."""
        return max(self.revision, self.receipt_revision + 1)

    @property
    def whole(self) -> bool:
        """Whether every part of a closed manifest has come."""
        return self.parts is not None and self.parts_come >= self.parts


Step = Literal["send", "complete", "wait"]


def next_step(tally: Tally) -> Step:
    """What a delivery needs: sending (or asking for what was sent), its receipt, or more of its manifest."""
    if tally.waiting or tally.sent:
        return "send"
    if tally.whole and tally.receipt_due:
        return "complete"
    return "wait"


def final_outcome(tally: Tally) -> Literal["delivered", "partial", "failed"]:
    """How a delivery with a receipt ended."""
    if not tally.failed:
        return "delivered"
    return "partial" if tally.confirmed else "failed"


def summary(reasons: Iterable[tuple[str, int]], failed: int) -> str:
    """Why instances failed, the most frequent reasons first; empty when none did."""
    if not failed:
        return ""
    ranked = sorted(reasons, key=lambda item: (-item[1], item[0]))
    told = "; ".join(f"{count} × {reason}" for reason, count in ranked[:3])
    more = f"; and {len(ranked) - 3} other reasons" if len(ranked) > 3 else ""
    return f"{failed} not delivered: {told}{more}"


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many deliveries may run at a time in this process, and which of the places are whose."""

    total: int
    emergency_reserve: int
    """Places that only emergencies may take."""
    per_destination: int
    """The most that one destination may hold, so that a slow one leaves room for others."""
    urgent_reserve: int = 0
    """Further places that only emergencies and what is urgent may take."""
    routine_reserve: int = 0
    """Places that only routine deliveries may take, so that emergencies without end do not stop them."""
    destination_reserve: int = 0
    """Associations that a destination with more than two keeps for what is more urgent than routine."""


def free_slots(
    limits: PoolLimits,
    *,
    running: Mapping[Priority, int],
    running_there: int,
    allowed_there: int,
    priority: Priority,
) -> int:
    """How many more deliveries of a priority to one destination may be started.

    `running` counts all of this process by priority, `running_there` those to the destination wherever they
    run, and `allowed_there` is what the destination accepts. A routine delivery to a destination that has
    some takes no place beyond half of what routine ones may take: the others are for destinations that have
    none, so that a few slow ones do not hold them all.
    """
    emergencies, urgent, routine = (running.get(one, 0) for one in ("emergency", "urgent", "routine"))
    there = min(limits.per_destination, allowed_there)
    free = limits.total - emergencies - urgent - routine
    kept_for_emergencies = max(0, limits.emergency_reserve - emergencies)
    if priority != "routine":
        free -= max(0, limits.routine_reserve - routine)
        if priority == "urgent":
            free -= kept_for_emergencies
        return max(0, min(free, there - running_there))
    reserve = limits.emergency_reserve + limits.urgent_reserve
    free -= max(kept_for_emergencies, reserve - emergencies - urgent)
    half = (limits.total - reserve) // 2
    first = 0 if running_there else 1
    if there > _NOT_WORTH_KEEPING:
        there = max(1, there - limits.destination_reserve)
    return max(0, min(free, max(first, half - routine), there - running_there))


_NOT_WORTH_KEEPING: Final = 2
"""With so few associations a routine delivery gives way after its instance instead."""
