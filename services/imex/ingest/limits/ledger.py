"""Pure: what all processes hold, from the records of the topic `capacity` in their order.

Every reader that applies the same records comes to the same verdicts, so that the place of a claim in the
topic decides, and nobody has to be asked. Time is the broker's, from the records: no two clocks are compared.

A report says what its process held as of `read_through`; what the process appended after that offset is added
by the reader. So a reader that begins in the middle, or erred, agrees with the others after one report.

While a scope (one institution, or everybody) is open, a process may take up to DOUBT places before it says
so. It closes when there might not be room for all of these, and from then on places are given by the topic
alone: never one that a process may have taken which had not read of the closing when it last said something.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import UUID

from imex.events import Event
from imex.events.capacity import (
    CapacityClaimedData,
    CapacityPayload,
    CapacityReleasedData,
    CapacityReportedData,
)

DOUBT = 8
"""So many places at most a process takes before it has read the first of them back."""

EVERYBODY = ""
"""The scope of all institutions; the others are named by their codes."""

WINDOW = 3
"""So many epochs of demand are kept: a share counts only once all of them allow it (`shares`)."""


class Verdict(Enum):
    """What a claim's place in the topic says."""

    GRANTED = "granted"
    EVERYBODY_FULL = "everybody"
    INSTITUTION_FULL = "institution"
    LATER = "later"
    """What is free may have been taken by a process that has not said so yet."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What one process needs for one institution."""

    in_flight_bytes: int = 0
    bytes_per_s: int = 0


Demand = Mapping[UUID, Mapping[str, Wants]]
"""What every live process needs, by institution."""


@dataclass(slots=True)
class _Scope:
    limit: int
    closed_at: int | None = None


@dataclass(slots=True)
class _Process:
    heard_at: float
    read_through: int = -1
    base: Counter[str] = field(default_factory=Counter)
    later: list[tuple[int, str, int]] = field(default_factory=list)
    wants: dict[str, Wants] = field(default_factory=dict)

    def held(self) -> Counter[str]:
        total = Counter(self.base)
        for _, code, change in self.later:
            total[code] = max(0, total[code] + change)
        return total


class Ledger:
    """The state after the records applied so far."""

    def __init__(self, expire_s: float) -> None:
        """A process that is not heard for `expire_s`, on the broker's clock, holds nothing any more."""
        self._expire_s = expire_s
        self._processes: dict[UUID, _Process] = {}
        self._by_institution: Counter[str] = Counter()
        self._epochs: deque[Demand] = deque(maxlen=WINDOW)
        self.epoch = -1
        """The broker's second that has begun."""
        self._scopes: dict[str, _Scope] = {}
        self.position = -1
        self.total = 0
        self.closings = 0
        """How often a scope has closed."""

    @property
    def live(self) -> tuple[UUID, ...]:
        """The processes that are alive, in an order that every reader agrees on."""
        return tuple(sorted(self._processes))

    @property
    def epochs(self) -> tuple[Demand, ...]:
        """What was needed at the beginning of each of the last seconds, oldest first."""
        return tuple(self._epochs)

    def institution(self, code: str) -> int:
        """Associations of one institution, in all processes."""
        return self._by_institution[code]

    def is_open(self, scope: str) -> bool:
        """Whether places may be taken before that is said."""
        known = self._scopes.get(scope)
        return known is None or known.closed_at is None

    def held(self, process: UUID) -> Counter[str]:
        """Associations of one process, by institution."""
        known = self._processes.get(process)
        return known.held() if known else Counter()

    def apply(self, position: int, at: float, event: Event[Any]) -> Verdict | None:
        """Take the next record; `at` in seconds. The verdict if it is a claim."""
        self._turn_epoch(int(at))
        self._expire(at)
        self.position = position
        verdict = None
        match event.data:
            case CapacityClaimedData() as claim:
                verdict = self._claim(position, at, claim)
            case CapacityReleasedData() as release:
                known = self._heard(release, at)
                self._change(known, position, release.institution, -1)
            case CapacityReportedData() as report:
                self._report(at, report)
            case _:
                pass
        self._review(position)
        return verdict

    def _claim(self, position: int, at: float, claim: CapacityClaimedData) -> Verdict:
        known = self._heard(claim, at)
        self._scope(EVERYBODY, claim.limit)
        self._scope(claim.institution, claim.institution_limit)
        verdict = Verdict.GRANTED
        if claim.institution_limit and self.institution(claim.institution) >= claim.institution_limit:
            verdict = Verdict.INSTITUTION_FULL
        elif claim.limit and self.total >= claim.limit:
            verdict = Verdict.EVERYBODY_FULL
        elif not claim.taken and not (
            self._is_certain(EVERYBODY, claim.process) and self._is_certain(claim.institution, claim.process)
        ):
            verdict = Verdict.LATER
        if claim.taken or verdict is Verdict.GRANTED:
            self._change(known, position, claim.institution, 1)
        return verdict

    def _is_certain(self, name: str, claimant: UUID) -> bool:
        """Whether a place is left even if all took what they may who have not read of the closing."""
        scope = self._scopes[name]
        if scope.closed_at is None:
            return True
        unaware = sum(
            1
            for process, known in self._processes.items()
            if process != claimant and known.read_through < scope.closed_at
        )
        return self._used(name) + unaware * DOUBT < scope.limit

    def _used(self, name: str) -> int:
        return self._by_institution[name] if name else self.total

    def _scope(self, name: str, limit: int) -> None:
        known = self._scopes.get(name)
        if known is None:
            # nobody takes anything of a limit that was never open
            never_open = bool(limit) and self._used(name) + self._reserve() > limit
            self._scopes[name] = _Scope(limit, -1 if never_open else None)
        else:
            known.limit = limit

    def _reserve(self) -> int:
        return reserve(len(self._processes))

    def _review(self, position: int) -> None:
        """Close and open scopes by what is used of them now."""
        for name, scope in self._scopes.items():
            if not scope.limit or self._used(name) + self._reserve() <= scope.limit:
                scope.closed_at = None
            elif scope.closed_at is None:
                scope.closed_at = position
                self.closings += 1

    def _report(self, at: float, report: CapacityReportedData) -> None:
        if report.leaving:
            self._forget(report.process)
            return
        known = self._heard(report, at)
        before = known.held()
        known.base = Counter({use.code: use.associations for use in report.institutions})
        known.later = [change for change in known.later if change[0] > report.read_through]
        known.wants = {use.code: Wants(use.in_flight_bytes, use.bytes_per_s) for use in report.institutions}
        self._count(before, -1)
        self._count(known.held(), 1)

    def _heard(self, said: CapacityPayload, at: float) -> _Process:
        known = self._processes.setdefault(said.process, _Process(at))
        known.heard_at = at
        known.read_through = max(known.read_through, said.read_through)
        return known

    def _change(self, known: _Process, position: int, code: str, change: int) -> None:
        before = known.held()[code]
        known.later.append((position, code, change))
        difference = known.held()[code] - before
        self._by_institution[code] += difference
        self.total += difference

    def _count(self, held: Mapping[str, int], sign: int) -> None:
        for code, count in held.items():
            self._by_institution[code] += sign * count
            self.total += sign * count

    def _forget(self, process: UUID) -> None:
        known = self._processes.pop(process, None)
        if known is not None:
            self._count(known.held(), -1)

    def _expire(self, at: float) -> None:
        for process in [p for p, known in self._processes.items() if at - known.heard_at > self._expire_s]:
            self._forget(process)

    def _turn_epoch(self, epoch: int) -> None:
        """Keep what was needed when a second began, the same for every reader."""
        if epoch <= self.epoch:
            return
        demand = {process: dict(known.wants) for process, known in self._processes.items()}
        for _ in range(min(epoch - self.epoch, WINDOW) if self.epoch >= 0 else 1):
            self._epochs.append(demand)
        self.epoch = epoch


def reserve(live: int) -> int:
    """Places that have to be free for a scope to be open, as so many processes may be taking some."""
    return live * DOUBT + 1
