"""The results of a run as one document: what is written as JSON, and what the tables are made from."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field

from benchmarks.measure import Round, median

IMEX, ORTHANC = "Imex", "Orthanc"
RECEIVE, RECEIVE_WORKING, SEND = "receive", "receive, all at work", "send"
END_TO_END, ROUTINE = "end to end", "end to end, routine"
CT, MIXED = "ct", "mixed"
ENDS = frozenset({"sender", "receiver"})


class Series(BaseModel):
    """The rounds of one system in one setting."""

    scenario: str
    corpus: str
    system: str
    associations: int
    images: int
    """In a round."""
    rates: list[float] = Field(default_factory=list)
    """Images a second of each round."""
    cpu_ms: list[dict[str, float]] = Field(default_factory=list)
    """CPU milliseconds an image by process, of each round."""
    failures: list[str] = Field(default_factory=list)

    def add(self, done: Round) -> None:
        """A round more."""
        self.images = done.images
        self.rates.append(round(done.rate, 2))
        self.cpu_ms.append({name: round(spent, 3) for name, spent in done.cpu_ms.items()})

    @property
    def rate(self) -> float | None:
        """The median, None without a round that succeeded."""
        return median(self.rates) if self.rates else None

    @property
    def cpu(self) -> Mapping[str, float]:
        """The medians of each process, the greatest first."""
        names = {name for each in self.cpu_ms for name in each}
        medians = {name: median([each.get(name, 0.0) for each in self.cpu_ms]) for name in names}
        return dict(sorted(medians.items(), key=lambda entry: -entry[1]))

    def total_cpu(self, *, ends: bool) -> float | None:
        """The median over rounds of the sum over processes, with or without sender and receiver."""
        sums = [
            sum(spent for name, spent in each.items() if ends or name not in ENDS) for each in self.cpu_ms
        ]
        return median(sums) if sums else None


class Results(BaseModel):
    """A run."""

    began: str
    machine: str
    rounds: int = 0
    """How many are done."""
    series: list[Series] = Field(default_factory=list)
    idle_cores: dict[str, float] = Field(default_factory=dict)
    """What each system uses when nothing is asked of it, while the others are measured, too."""
    first_image_ms: list[float] = Field(default_factory=list)
    last_image_ms: list[float] = Field(default_factory=list)
    latency_failures: list[str] = Field(default_factory=list)

    def of(self, scenario: str, corpus: str, system: str, associations: int) -> Series:
        """The series of a setting, made when it is new."""
        found = self.find(scenario, corpus, system, associations)
        if found is None:
            found = Series(
                scenario=scenario, corpus=corpus, system=system, associations=associations, images=0
            )
            self.series.append(found)
        return found

    def find(self, scenario: str, corpus: str, system: str, associations: int) -> Series | None:
        """The series of a setting."""
        wanted = (scenario, corpus, system, associations)
        return next(
            (
                each
                for each in self.series
                if (each.scenario, each.corpus, each.system, each.associations) == wanted
            ),
            None,
        )

    def rate(self, scenario: str, system: str, associations: int, corpus: str = CT) -> float | None:
        """The median of images a second in a setting."""
        found = self.find(scenario, corpus, system, associations)
        return found.rate if found is not None else None

    def systems(self) -> Sequence[str]:
        """In the order in which they ran."""
        return list(dict.fromkeys(each.system for each in self.series))

    def associations(self, scenario: str, corpus: str = CT) -> Sequence[int]:
        """The numbers of associations that a scenario ran with."""
        return sorted(
            {each.associations for each in self.series if (each.scenario, each.corpus) == (scenario, corpus)}
        )


def begun() -> Results:
    """An empty document that says where and when."""
    return Results(began=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), machine=_machine())


def _machine() -> str:
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line.partition(":")[2] for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = named[0].strip() if named else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GB"
