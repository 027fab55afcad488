"""Waiting between tries."""

import asyncio

import pytest

from imex.runtime.backoff import Interrupted, persist


async def test_work_is_repeated_until_it_succeeds() -> None:
    tries: list[int] = []

    async def work() -> str:
        tries.append(len(tries))
        if len(tries) < 4:
            raise ConnectionError
        return "done"

    retries: list[int] = []
    found = await persist(
        # a lambda on purpose: what it returns has to be awaited too
        lambda: work(),  # noqa: PLW0108
        again=lambda error: isinstance(error, ConnectionError),
        stop=asyncio.Event(),
        initial_s=0.001,
        max_s=0.002,
        on_retry=lambda _error, attempt: retries.append(attempt),
    )
    assert found == "done"
    assert retries == [1, 2, 3]


async def test_other_failures_are_raised_at_once() -> None:
    async def work() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await persist(
            work,
            again=lambda error: isinstance(error, ConnectionError),
            stop=asyncio.Event(),
            initial_s=1,
            max_s=1,
            on_retry=lambda *_: None,
        )


async def test_stopping_ends_the_wait() -> None:
    stop = asyncio.Event()

    async def work() -> None:
        stop.set()
        raise ConnectionError

    with pytest.raises(Interrupted):
        await persist(work, again=lambda _: True, stop=stop, initial_s=60, max_s=60, on_retry=lambda *_: None)
