"""What the figures must reach, and whether they do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import median
from benchmarks.results import CT, END_TO_END, IMEX, ORTHANC, RECEIVE, SEND, Results

FIRST_IMAGE_MS = 100.0
LAST_IMAGE_MS = 300.0
CPU_MS = 8.0


@dataclass(frozen=True)
class Floor:
    """One figure beside what it must be."""

    what: str
    needed: str
    got: str
    met: bool | None
    """None when the run did not measure it."""
    aim: bool = False
    """An aim, not a floor."""

    @property
    def verdict(self) -> str:
        """In words."""
        return "not measured" if self.met is None else "met" if self.met else "not met"


def ratio(value: float | None, beside: float | None) -> float | None:
    """How many times as much; None when one of them is unknown."""
    return None if value is None or not beside else value / beside


def floors(results: Results) -> list[Floor]:
    """All floors, and after them the aims."""
    four = results.rate(END_TO_END, IMEX, 4)
    orthanc_four = results.rate(END_TO_END, ORTHANC, 4)
    orthanc_one = results.rate(END_TO_END, ORTHANC, 1)
    any_number = [
        rate
        for number in results.associations(END_TO_END)
        if (rate := results.rate(END_TO_END, ORTHANC, number)) is not None
    ]
    best = max(any_number, default=None)
    with_four = ratio(four, orthanc_four)
    beside_best = ratio(four, best)
    with_one = ratio(results.rate(END_TO_END, IMEX, 1), orthanc_one)
    sending = ratio(results.rate(SEND, IMEX, 1), orthanc_one)
    received = [
        _times(
            f"receive only, {number} associations, beside Orthanc's",
            ratio(results.rate(RECEIVE, IMEX, number), results.rate(RECEIVE, ORTHANC, number)),
            1.0,
        )
        for number in (4, 8)
    ]
    return [
        _times("end to end, 4 associations, beside Orthanc's with 4", with_four, 1.5),
        _times("end to end, 4 associations, beside Orthanc's best", beside_best, 1.3),
        _times("end to end, 1 association, beside Orthanc's with 1", with_one, 1.0),
        *received,
        _times("send only, beside Orthanc's end to end with 1", sending, 3.0),
        _below("first image of a 20-slice emergency study", _middle(results.first_image_ms), FIRST_IMAGE_MS),
        _below("last image of a 20-slice emergency study", _middle(results.last_image_ms), LAST_IMAGE_MS),
        _times("end to end, 4 associations, beside Orthanc's with 4", with_four, 2.5, aim=True),
        _times("end to end, 4 associations, beside Orthanc's best", beside_best, 1.8, aim=True),
        _cpu(results),
    ]


def _cpu(results: Results) -> Floor:
    found = results.find(END_TO_END, CT, IMEX, 4)
    total = found.total_cpu(ends=True) if found is not None else None
    got = "–" if total is None else f"{total:.1f} ms"
    what = "CPU an image, end to end with 4 associations, all processes and both ends"
    return Floor(what, f"≤ {CPU_MS:g} ms", got, None if total is None else total <= CPU_MS, aim=True)


def _middle(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _times(what: str, got: float | None, needed: float, *, aim: bool = False) -> Floor:
    shown = "–" if got is None else f"{got:.2f} ×"
    return Floor(what, f"≥ {needed:g} ×", shown, None if got is None else got >= needed, aim)


def _below(what: str, got: float | None, needed: float) -> Floor:
    shown = "–" if got is None else f"{got:.0f} ms"
    return Floor(what, f"< {needed:g} ms", shown, None if got is None else got < needed)
