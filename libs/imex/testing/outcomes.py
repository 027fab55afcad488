"""What the fault matrix found, row by row."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """One row of the table."""

    part: str
    fault: str
    acknowledged: int
    delivered: int
    sent_again: int
    back_s: float
    whole_s: float


@dataclass
class Outcomes:
    """What the matrix found so far."""

    rows: list[Outcome] = field(default_factory=list)
