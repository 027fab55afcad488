"""Waiting between tries."""

import asyncio

import pytest

from imex.runtime.backoff import Interrupted, ended, persist


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


async def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost == 2:
                    raise
                lost += 1

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await ended(task, again_s=0.001)
    assert (lost, task.cancelled()) == (2, True)
    await ended(task)  # once more does nothing


async def test_what_fails_while_it_ends_is_nobodys_trouble() -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await ended(task)
    assert isinstance(task.exception(), OSError)
