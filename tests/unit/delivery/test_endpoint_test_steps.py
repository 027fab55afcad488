"""How the steps of a test of an endpoint follow each other."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from imex.delivery.endpoint_tests.offered import to_ask
from imex.delivery.endpoint_tests.steps import (
    MOST_WORDS,
    Finding,
    Planned,
    Result,
    Step,
    carry_out,
    failed,
    ok,
    outcome,
    skipped,
    warning,
)
from imex.directory.model import Accepts


def plan(*findings: Finding) -> list[Planned]:
    def looking(finding: Finding) -> Planned:
        async def look() -> Finding:
            return finding

        return Planned(finding.words, 1.0, look)

    return [looking(one) for one in findings]


async def nobody(_: Sequence[Step]) -> None:
    """Hear it."""


async def test_what_lies_behind_a_failure_is_skipped_and_told() -> None:
    heard: list[int] = []

    async def hear(steps: Sequence[Step]) -> None:
        heard.append(len(steps))

    steps = await carry_out(plan(ok("a"), failed("b", "do c"), ok("d"), ok("e")), hear)
    assert [one.result for one in steps] == ["ok", "failed", "skipped", "skipped"]
    assert steps[3].words == "not reached: b failed"
    assert steps[3].ms is None
    assert heard == [1, 2, 4]
    assert outcome(steps) == ("failed", "b: b")


async def test_a_failure_that_ends_nothing_lets_the_rest_go_on() -> None:
    steps = await carry_out(plan(failed("b", "", ends=False), ok("c")), nobody)
    assert [one.result for one in steps] == ["failed", "ok"]


async def test_no_step_outlasts_its_deadline_and_no_test_its_own() -> None:
    async def for_ever() -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    begun = asyncio.get_running_loop().time()
    stuck = [Planned("one", 0.05, for_ever), Planned("two", 60.0, for_ever)]
    steps = await carry_out(stuck[:1], nobody)
    assert steps[0].words == "it did not end within 0 s"
    steps = await carry_out(stuck[1:], nobody, total_s=0.05)
    assert steps[0].result == "failed"
    assert asyncio.get_running_loop().time() - begun < 5


async def test_what_a_peer_says_is_bounded() -> None:
    [step] = await carry_out(plan(ok("x" * 10_000)), nobody)
    assert len(step.words) == MOST_WORDS


results = st.sampled_from([ok("fine"), warning("mind", "do"), failed("bad", "do"), skipped("no")])


@given(st.lists(results, max_size=8))
def test_a_test_passes_when_and_only_when_no_step_has_failed(findings: list[Finding]) -> None:
    steps = asyncio.run(carry_out(plan(*findings), nobody))
    assert len(steps) == len(findings)
    assert (outcome(steps)[0] == "failed") == any(one.result is Result.FAILED for one in steps)


uid = st.integers(1, 10**9).map(lambda n: f"1.2.840.10008.5.1.4.1.1.{n}")


@given(st.lists(uid, max_size=60, unique=True), st.lists(uid, max_size=60, unique=True))
def test_no_more_is_asked_than_an_association_can_carry(classes: list[str], syntaxes: list[str]) -> None:
    accepts = Accepts.model_validate(
        {"sop_classes": classes or "any", "transfer_syntaxes": syntaxes or "any"}
    )
    contexts = to_ask(accepts)
    assert 1 <= len(contexts) <= 128
    assert contexts[0][0] == "1.2.840.10008.1.1"
    pairs = [(one, syntax) for one, (syntax,) in contexts]
    assert len(pairs) == len(set(pairs))
    assert all(one in {sop_class for sop_class, _ in contexts} for one in classes[:40])
