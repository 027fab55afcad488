"""The life cycle of a service and what it says about itself."""

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest

from imex.runtime.app import App, _take_descriptors
from imex.runtime.background import Background
from imex.runtime.health import Health
from imex.settings import HttpSettings
from imex.testing.runtime import until


class Part:
    """A component that notes what is done with it."""

    def __init__(self, name: str, diary: list[str], started: asyncio.Event | None = None) -> None:
        self.name = name
        self.said = Health()
        self._diary = diary
        self._started = started

    async def start(self) -> None:
        if self._started is not None:
            await self._started.wait()
        self._diary.append(f"start {self.name}")

    async def stop(self) -> None:
        self._diary.append(f"stop {self.name}")
        raise RuntimeError("a part that fails to stop holds up nobody")

    def health(self) -> Health:
        return self.said


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def get(client: aiohttp.ClientSession, app: App, path: str) -> tuple[int, str]:
    async with client.get(f"http://127.0.0.1:{app.port}{path}") as response:
        return response.status, await response.text()


def http() -> HttpSettings:
    return HttpSettings(port=0)


async def test_parts_start_in_order_and_stop_in_reverse(client: aiohttp.ClientSession) -> None:
    diary: list[str] = []
    app = App("sample", [Part("a", diary), Part("b", diary)], http())
    await app.start()
    assert (await get(client, app, "/ready"))[0] == 200
    await app.stop()
    assert diary == ["start a", "start b", "stop b", "stop a"]


async def test_ready_says_which_part_is_not_and_why(client: aiohttp.ClientSession) -> None:
    part = Part("relay", [])
    app = App("sample", [part], http())
    await app.start()
    part.said = Health(ready=False, detail="stopped at x")
    status, body = await get(client, app, "/ready")
    assert status == 503
    assert "stopped at x" in body
    assert (await get(client, app, "/live"))[0] == 200
    part.said = Health(live=False)
    assert (await get(client, app, "/live"))[0] == 503
    status, body = await get(client, app, "/metrics")
    assert status == 200
    assert "imex_build_info" in body
    await app.stop()


async def test_a_slow_start_can_be_watched(client: aiohttp.ClientSession) -> None:
    go = asyncio.Event()
    app = App("sample", [Part("slow", [], go)], http())
    starting = asyncio.create_task(app.start())
    await until(lambda: app.port is not None)
    status, body = await get(client, app, "/ready")
    assert status == 503
    assert "starting" in body
    assert (await get(client, app, "/live"))[0] == 200
    go.set()
    await starting
    assert (await get(client, app, "/ready"))[0] == 200
    await app.stop()


@pytest.mark.parametrize("started", [True, False])
async def test_a_signal_stops_a_service_even_while_it_starts(started: bool) -> None:
    diary: list[str] = []
    go = asyncio.Event()
    app = App("sample", [Part("a", diary), Part("b", diary, go)], None)
    running = asyncio.create_task(app.run())
    if started:
        go.set()
    await until(lambda: app.serving() if started else "start a" in diary)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 10)
    assert diary[-1] == "stop a"


async def test_a_second_signal_does_not_break_off_an_orderly_stop() -> None:
    class Draining(Part):
        async def stop(self) -> None:
            self._diary.append(f"drains {self.name}")
            assert self._started is not None
            await self._started.wait()
            self._diary.append(f"stop {self.name}")

    diary: list[str] = []
    go = asyncio.Event()
    part = Draining("a", diary)
    app = App("sample", [part], None)
    running = asyncio.create_task(app.run())
    await until(app.serving)
    part._started = go
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: "drains a" in diary)
    assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait_for(running, 10)
    assert diary[-1] == "stop a"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("soft", "hard", "taken"),
    [(1024, 4096, (4096, 4096)), (1024, resource.RLIM_INFINITY, (65_536, -1)), (100_000, 200_000, None)],
)
def test_a_service_takes_the_descriptors_that_it_may_have(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, taken: tuple[int, int] | None
) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    _take_descriptors()
    assert set_to == ([taken] if taken else [])


async def test_a_part_that_cannot_start_ends_the_service() -> None:
    class Broken(Part):
        async def start(self) -> None:
            raise ValueError("wrong settings")

    diary: list[str] = []
    with pytest.raises(ValueError, match="wrong settings"):
        await App("sample", [Part("a", diary), Broken("b", diary)], None).run()
    assert diary == ["start a", "stop a"]


@pytest.mark.parametrize("stated", [None, 30.0])
async def test_a_part_has_the_time_to_stop_that_it_states(
    stated: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Part):
        async def stop(self) -> None:
            await asyncio.sleep(0.3)
            self._diary.append("stop slow")

    monkeypatch.setattr("imex.runtime.app._STOP_EACH_S", 0.05)
    diary: list[str] = []
    slow = Slow("slow", diary)
    if stated is not None:
        slow.stop_within_s = stated  # type: ignore[attr-defined]
    app = App("sample", [slow], None)
    await app.start()
    await app.stop()
    assert ("stop slow" in diary) is (stated is not None)


async def test_a_background_loop_outlives_failures_and_says_so() -> None:
    turns: list[int] = []

    async def turn() -> bool:
        turns.append(len(turns))
        if len(turns) == 1:
            raise ConnectionError
        return len(turns) < 4

    loop = Background("sample", turn, every_s=3600)
    await loop.start()
    await until(lambda: loop.health().detail == "ConnectionError")
    await until(lambda: len(turns) == 4 and loop.health().detail == "")
    loop.wake()
    await until(lambda: len(turns) == 5)
    await loop.stop()
