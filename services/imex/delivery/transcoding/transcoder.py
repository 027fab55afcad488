"""The children that transcode: how many at a time, for how long, within how much memory."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_STOPPED_S: Final = 2.0
_LINE_BYTES: Final = 1 << 16


class CannotTranscode(Exception):
    """There is no way; the words go on from "…, and "."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use. Bytes and seconds."""

    at_a_time: int = 1
    memory: int = 2 << 30
    pixels: int = 128 << 20
    """Of the pixel data when it is not compressed."""
    seconds: float = 60.0
    idle_s: float = 30.0
    """A child that nobody needs is ended after this."""


class Transcoder:
    """Hands data sets to children, and ends those that take too long."""

    def __init__(self, limits: Limits | None = None) -> None:
        """No child runs until there is something to do."""
        self._limits = limits or Limits()
        self.turns = asyncio.Semaphore(self._limits.at_a_time)
        """Whoever has a data set transcoded takes one first, so that it is not read into memory before."""
        self._idle: list[Process] = []
        self._ending: dict[int, asyncio.TimerHandle] = {}

    async def transcode(self, data: bytes | memoryview, stored: str, wanted: str) -> memoryview:
        """The data set in the transfer syntax `wanted`, its pixels proven to be the same.

        Raises:
            CannotTranscode: it is not possible, or not within the limits.
        """
        child = await self._child()
        try:
            async with asyncio.timeout(self._limits.seconds):
                answer, made = await self._ask(child, data, stored, wanted)
        except TimeoutError:
            await _end(child)
            raise CannotTranscode(f"transcoding it takes longer than {self._limits.seconds:g} s") from None
        except (OSError, asyncio.IncompleteReadError, ValueError):
            await _end(child)
            raise CannotTranscode("transcoding it breaks the process that does it") from None
        except BaseException:
            await _end(child)
            raise
        self._keep(child)
        if why := answer.get("why"):
            raise CannotTranscode(str(why))
        return memoryview(made)

    async def close(self) -> None:
        """End the children."""
        for timer in self._ending.values():
            timer.cancel()
        self._ending.clear()
        while self._idle:
            await _end(self._idle.pop())

    async def _ask(
        self, child: Process, data: bytes | memoryview, stored: str, wanted: str
    ) -> tuple[dict[str, Any], bytes]:
        assert child.stdin is not None
        assert child.stdout is not None
        asked = {"size": len(data), "stored": stored, "wanted": wanted, "most_bytes": self._limits.pixels}
        child.stdin.write(json.dumps(asked).encode() + b"\n")
        child.stdin.write(data)
        await child.stdin.drain()
        line = await child.stdout.readline()
        if not line:
            raise asyncio.IncompleteReadError(b"", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer, await child.stdout.readexactly(int(answer["size"]))

    async def _child(self) -> Process:
        while self._idle:
            child = self._idle.pop()
            if timer := self._ending.pop(child.pid, None):
                timer.cancel()
            if child.returncode is None:
                return child
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "imex.delivery.transcoding.child"),
            *(str(self._limits.memory), str(int(self._limits.seconds))),
            stdin=PIPE,
            stdout=PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(os.environ),
            limit=_LINE_BYTES,
        )

    def _keep(self, child: Process) -> None:
        self._idle.append(child)
        loop = asyncio.get_running_loop()
        self._ending[child.pid] = loop.call_later(self._limits.idle_s, self._let_go, child)

    def _let_go(self, child: Process) -> None:
        self._ending.pop(child.pid, None)
        if child in self._idle:
            self._idle.remove(child)
            if child.stdin is not None:
                child.stdin.close()  # it ends by itself


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Nothing of ours but where Python is: credentials are not the child's business."""
    kept = {name: own[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in own}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


async def _end(child: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOPPED_S):
            await child.wait()
