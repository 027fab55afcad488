"""What a step of a test finds, and how steps follow each other within their deadlines."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

TOTAL_S: Final = 120.0
"""A test never takes longer."""
MOST_WORDS: Final = 600
"""Characters of what a step says: peers' words are in it."""


class Result(StrEnum):
    """How a step ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step found; `advice` says what to do about it, `facts` are for tables."""

    result: Result
    words: str
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    ends: bool = False
    """Nothing behind it can be found out."""


@dataclass(frozen=True, slots=True)
class Step:
    """A finding with its name and how long it took."""

    name: str
    result: Result
    words: str
    advice: str
    ms: float | None
    """Milliseconds; None where nothing was done."""
    facts: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Planned:
    """A step that is to come, with its own deadline in seconds."""

    name: str
    deadline_s: float
    look: Callable[[], Awaitable[Finding]]


Told = Callable[[Sequence[Step]], Awaitable[None]]


def ok(words: str, **facts: Any) -> Finding:
    """All is well."""
    return Finding(Result.OK, words, facts=facts)


def warning(words: str, advice: str, **facts: Any) -> Finding:
    """It works, and somebody should know."""
    return Finding(Result.WARNING, words, advice, facts)


def failed(words: str, advice: str, *, ends: bool = True, **facts: Any) -> Finding:
    """It does not work."""
    return Finding(Result.FAILED, words, advice, facts, ends)


def skipped(words: str) -> Finding:
    """There was nothing to find out, or no way to."""
    return Finding(Result.SKIPPED, words)


async def carry_out(plan: Sequence[Planned], told: Told, total_s: float = TOTAL_S) -> list[Step]:
    """One step after the other; `told` hears of all so far after each.

    A step that does not end within its deadline, or within what is left of `total_s`, has failed. What
    comes behind one that ended the test is skipped.
    """
    end = time.monotonic() + total_s
    steps: list[Step] = []
    over = ""
    for planned in plan:
        if over:
            steps.append(Step(planned.name, Result.SKIPPED, over, "", None, {}))
            continue
        begun = time.monotonic()
        finding = await _look(planned, min(planned.deadline_s, end - begun))
        took = None if finding.result is Result.SKIPPED else round((time.monotonic() - begun) * 1000, 1)
        words = finding.words[:MOST_WORDS]
        steps.append(Step(planned.name, finding.result, words, finding.advice, took, finding.facts))
        if finding.ends:
            over = f"not reached: {planned.name} failed"
        await told(steps)
    if over:
        await told(steps)
    return steps


async def _look(planned: Planned, seconds: float) -> Finding:
    if seconds <= 0:
        return failed("there was no time left for it", "Look at what took so long before.")
    try:
        async with asyncio.timeout(seconds):
            return await planned.look()
    except TimeoutError:
        return failed(
            f"it did not end within {seconds:.0f} s",
            "The other side is slow or silent: look at its log for the time of this test.",
        )


def outcome(steps: Sequence[Step]) -> tuple[str, str]:
    """`passed` or `failed`, and in words what is to be known of it."""
    broken = [one for one in steps if one.result is Result.FAILED]
    if broken:
        return "failed", f"{broken[0].name}: {broken[0].words}"
    warned = [one for one in steps if one.result is Result.WARNING]
    if warned:
        return "passed", f"with {len(warned)} warning{'s' if len(warned) > 1 else ''}: {warned[0].words}"
    return "passed", "everything that was tried works"
