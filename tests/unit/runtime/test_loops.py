"""A component whose loop has died is not alive, whatever its other loops do."""

import asyncio
from collections.abc import Sequence

import pytest

from imex.runtime import Consumer, Message, Policy
from imex.runtime.loops import Loops
from imex.settings import KafkaSettings
from imex.testing.runtime import running, until


async def test_a_loop_that_fails_is_named() -> None:
    async def fail() -> None:
        raise LookupError

    async def go_on() -> None:
        await asyncio.Event().wait()

    loops = Loops()
    loops.start(go_on(), "other")
    loops.start(fail(), "measuring")
    await until(lambda: loops.failed == "measuring has ended: LookupError")
    await loops.stop(0.01)


@pytest.mark.parametrize("loop", ["_commit", "_connect"])
async def test_a_consumer_with_a_dead_loop_is_not_live(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Consumer) -> None:
        raise ZeroDivisionError

    async def nothing(_: Sequence[Message]) -> None: ...

    policy = Policy(commit_every_s=0.01)
    consumer = Consumer(
        KafkaSettings(bootstrap="127.0.0.1:1"), "imex-sample", ["t"], policy=policy, stateless=nothing
    )
    with monkeypatch.context() as patched:
        patched.setattr(Consumer, loop, fail)
        async with running(consumer):
            await until(lambda: not consumer.health().live)
            assert "ZeroDivisionError" in consumer.health().detail
            patched.undo()
