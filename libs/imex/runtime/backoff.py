"""Waiting between tries."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

T = TypeVar("T")


class Interrupted(Exception):
    """The work is no longer ours, or the service stops."""


async def heard(event: asyncio.Event, timeout: float) -> bool:
    """Whether the event was set within `timeout` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):  # wait_for may swallow a cancellation
            await event.wait()
    return event.is_set()


async def ended(task: asyncio.Task[Any], again_s: float = 1.0) -> None:
    """Cancel a task and wait for its end, however it ends.

    Cancels again every `again_s` seconds: what waits by `asyncio.wait_for`, as Kafka's client does, may lose
    a cancellation (gh-86296).
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=again_s)


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, but not past `stop`.

    Raises:
        Interrupted: `stop` was set.
    """
    if await heard(stop, seconds):
        raise Interrupted


async def persist(
    work: Callable[[], Awaitable[T]],
    *,
    again: Callable[[BaseException], bool],
    stop: asyncio.Event,
    initial_s: float,
    max_s: float,
    on_retry: Callable[[BaseException, int], None],
) -> T:
    """Do `work` until it succeeds or fails in a way that is not worth repeating.

    Waits are exponential with full jitter up to `max_s`, and end at once when `stop` is set.

    Raises:
        Interrupted: `stop` was set while waiting.
        Exception: what `work` raised, when `again` says no.
    """

    async def sleep(seconds: float) -> None:
        await pause(seconds, stop)

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            on_retry(error, state.attempt_number)

    async def attempt() -> T:
        # tenacity awaits only what it can tell is a coroutine function, which a lambda is not
        return await work()

    retrying = AsyncRetrying(
        retry=retry_if_exception(again),
        wait=wait_random_exponential(multiplier=initial_s, max=max_s),
        sleep=sleep,
        before_sleep=before_sleep,
        reraise=True,
    )
    return await retrying(attempt)
