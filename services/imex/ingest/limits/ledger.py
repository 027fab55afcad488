"""Pure: what all processes hold, from the records of the topic `capacity` in their order.

Every reader that applies the same records comes to the same verdicts, so that the place of a claim in the
topic decides, and nobody has to be asked. Time is the broker's, from the records: no two clocks are compared.

A report says what its process held as of `read_through`; what the process appended after that offset is added
by the reader. So a reader that begins in the middle, or erred, agrees with the others after one report.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import UUID

from imex.events import Event
from imex.events.capacity import CapacityClaimedData, CapacityReleasedData, CapacityReportedData

WINDOW = 3
"""So many epochs of demand are kept: a share counts only once all of them allow it (`shares`)."""


class Verdict(Enum):
    """What a claim's place in the topic says."""

    GRANTED = "granted"
    EVERYBODY_FULL = "everybody"
    INSTITUTION_FULL = "institution"


@dataclass(frozen=True, slots=True)
class Wants:
    """What one process needs for one institution."""

    in_flight_bytes: int = 0
    bytes_per_s: int = 0


Demand = Mapping[UUID, Mapping[str, Wants]]
"""What every live process needs, by institution."""


@dataclass(slots=True)
class _Process:
    heard_at: float
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
        self._epoch = -1
        self.position = -1
        self.total = 0

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

    def held(self, process: UUID) -> Counter[str]:
        """Associations of one process, by institution."""
        known = self._processes.get(process)
        return known.held() if known else Counter()

    def apply(self, position: int, at: float, event: Event[Any]) -> Verdict | None:
        """Take the next record; `at` in seconds. The verdict if it is a claim."""
        self._turn_epoch(int(at))
        self._expire(at)
        self.position = position
        match event.data:
            case CapacityClaimedData() as claim:
                return self._claim(position, at, claim)
            case CapacityReleasedData() as release:
                known = self._heard(release.process, at)
                self._change(known, position, release.institution, -1)
            case CapacityReportedData() as report:
                self._report(at, report)
            case _:
                pass
        return None

    def _claim(self, position: int, at: float, claim: CapacityClaimedData) -> Verdict:
        known = self._heard(claim.process, at)
        verdict = Verdict.GRANTED
        if claim.institution_limit and self.institution(claim.institution) >= claim.institution_limit:
            verdict = Verdict.INSTITUTION_FULL
        elif claim.limit and self.total >= claim.limit:
            verdict = Verdict.EVERYBODY_FULL
        if claim.taken or verdict is Verdict.GRANTED:
            self._change(known, position, claim.institution, 1)
        return verdict

    def _report(self, at: float, report: CapacityReportedData) -> None:
        if report.leaving:
            self._forget(report.process)
            return
        known = self._heard(report.process, at)
        before = known.held()
        known.base = Counter({use.code: use.associations for use in report.institutions})
        known.later = [change for change in known.later if change[0] > report.read_through]
        known.wants = {use.code: Wants(use.in_flight_bytes, use.bytes_per_s) for use in report.institutions}
        self._count(before, -1)
        self._count(known.held(), 1)

    def _heard(self, process: UUID, at: float) -> _Process:
        known = self._processes.setdefault(process, _Process(at))
        known.heard_at = at
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
        if epoch <= self._epoch:
            return
        demand = {process: dict(known.wants) for process, known in self._processes.items()}
        for _ in range(min(epoch - self._epoch, WINDOW) if self._epoch >= 0 else 1):
            self._epochs.append(demand)
        self._epoch = epoch
