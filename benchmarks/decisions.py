"""How long decisions take with a directory of national size, and how long it takes to put one in force.

Pure: no stack is needed and nothing is sent. A decision's time is that of its thread on the processor, in the
best of several rounds: what counts is this code, not what else the machine does. What is applied is timed by
the wall clock. The limits are those that decisions were designed for: docs/adr/0022.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from benchmarks.national import (
    BODY_PARTS,
    EXPRESSIONS,
    HUB,
    MEMBERS,
    MODALITIES,
    WORDS,
    Size,
    codes,
    document,
)
from imex.directory import DirectoryIndex, StudyFacts, diff, inspect, to_yaml
from imex.directory.document import canonical
from imex.runtime.directory_feed import indexed
from imex.sharing.decide import consider
from imex.sharing.decisions import UNMARKED, Question
from imex.sharing.recorded import Answer, RecordedQuestion

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
ROUNDS = 8
TICK_S = 0.001

Made = TypeVar("Made")


@dataclass(frozen=True)
class Line:
    """One line of the table; where there is a limit, the 99th percentile has to keep it."""

    name: str
    unit: str
    p99: float
    p50: float | None = None
    limit: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        return self.limit is None or self.p99 < self.limit

    def __str__(self) -> str:
        middle = f"{self.p50:9.1f}" if self.p50 is not None else " " * 9
        verdict = (
            "" if self.limit is None else f"  limit {self.limit:g}: {'kept' if self.kept else 'NOT KEPT'}"
        )
        return f"{self.name:58}{middle}{self.p99:9.2f} {self.unit:3}{verdict}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--studies", type=int, default=20_000, help="decisions in a round")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; 1 where a limit is not kept."""
    size = Size()
    text = document(size)
    print(
        f"{size.institutions} institutions, {size.groups} networks of {MEMBERS}, "
        f"{size.agreements:,} agreements, {size.rules:,} rules, "
        f"{EXPRESSIONS} of them in CEL and all of one source; {len(text) / 1e6:.1f} MB of YAML"
    )
    print(f"{'':58}{'p50':>9}{'p99':>9}")
    kept = True
    for line in _lines(text, size, arguments.studies):
        print(line, flush=True)
        kept = kept and line.kept
    return 0 if kept else 1


def _lines(text: str, size: Size, studies: int) -> Iterator[Line]:
    body = yield from _applying(text)
    gc.collect()
    index = indexed(body, None)
    yield from _deciding(index, size, studies)


def _applying(text: str) -> Generator[Line, None, bytes]:
    """From the file to the version in force; returns the document that is kept of it."""
    lines: list[Line] = []

    def step(name: str, make: Callable[[], Made]) -> Made:
        gc.collect()
        began = time.perf_counter()
        made = make()
        lines.append(Line(name, "s", time.perf_counter() - began))
        return made

    inspected = step("apply: read, check, look for warnings", lambda: inspect(text, AT))
    body = step("apply: write the canonical document", lambda: canonical(inspected.directory))
    step("apply: read the document in a service, index it", lambda: indexed(body, None))
    yield from lines
    yield Line("apply: altogether", "s", sum(line.p99 for line in lines), limit=5.0)
    yield Line(
        "while it is read: longest halt of the event loop beside it", "ms", _halt(body) * 1e3, limit=100
    )
    changed = inspected.directory.model_copy(update={"rules": inspected.directory.rules[1:]})
    step("differences between two versions", lambda: diff(inspected.directory, changed))
    step("export as YAML", lambda: to_yaml(inspected.directory))
    yield from lines[3:]
    return body


def _deciding(index: DirectoryIndex, size: Size, studies: int) -> Iterator[Line]:
    chance = random.Random(11)
    others = [code for code in codes(size) if code != HUB]
    structured = [_question(chance, chance.choice(others)) for _ in range(studies)]
    hub = [_question(chance, HUB) for _ in range(studies // 10)]
    yield _timed("decision, structured rules", structured, lambda one: consider(index, one), "µs", 50)
    yield _timed("decision, 200 candidates in CEL", hub, lambda one: consider(index, one), "µs", 1000)
    answers = [(one, Answer.of(consider(index, one))) for one in structured[: studies // 4]]
    yield _timed(
        "recording a question and its answer as JSON",
        answers,
        lambda one: (
            RecordedQuestion.of(one[0], index.version).model_dump_json(),
            one[1].model_dump_json(exclude_defaults=True),
        ),
        "µs",
    )
    shares = sum(len(answer.decided) for _, answer in answers) / len(answers)
    covered = sum(one.lets_it_go for _, answer in answers for one in answer.decided) / len(answers)
    print(f"  a study had {shares:.2f} wishes, of which agreements covered {covered:.2f}")


def _timed(
    name: str, asked: list[Any], answer: Callable[[Any], object], unit: str, limit: float | None = None
) -> Line:
    best: Line | None = None
    for _ in range(ROUNDS):
        spent: list[int] = []
        for one in asked:
            began = time.thread_time_ns()
            answer(one)
            spent.append(time.thread_time_ns() - began)
        spent.sort()
        p50, p99 = spent[len(spent) // 2] / 1e3, spent[int(len(spent) * 0.99)] / 1e3
        if best is None or p99 < best.p99:
            best = Line(name, unit, p99, p50, limit)
    assert best is not None, "there is at least one round"
    return best


def _question(chance: random.Random, source: str) -> Question:
    modalities = frozenset(chance.sample(MODALITIES, chance.choice((1, 1, 1, 2))))
    facts = StudyFacts(
        source,
        modalities,
        sop_classes=frozenset({f"1.2.840.10008.5.1.4.1.1.{len(modalities)}"}),
        body_parts=frozenset({chance.choice(BODY_PARTS)}),
        description=f"{chance.choice(MODALITIES)} {chance.choice(WORDS)} {chance.choice(BODY_PARTS)}".upper(),
        series_descriptions=frozenset(f"SERIES {number}" for number in range(chance.randint(1, 8))),
        called_ae="IMEX",
    )
    return Question(
        f"1.2.{chance.randrange(10**12)}", facts, AT, passage=1, standing=True, background=UNMARKED
    )


def _halt(body: bytes) -> float:
    """Seconds for which an event loop stands still at most while a thread beside it reads a document."""

    async def measured() -> float:
        longest, done = 0.0, asyncio.Event()

        async def tick() -> None:
            nonlocal longest
            while not done.is_set():
                began = time.perf_counter()
                await asyncio.sleep(TICK_S)
                longest = max(longest, time.perf_counter() - began - TICK_S)

        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(indexed, body, None)
        done.set()
        await ticking
        return longest

    return min(asyncio.run(measured()) for _ in range(3))
