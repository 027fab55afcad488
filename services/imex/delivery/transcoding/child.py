"""The process in which pixel data is decoded and encoded: one request at a time, within hard limits.

A request and its answer are a line of JSON and the bytes whose number it says. The process has no credentials
and no connections, may write no file, and is killed by whoever waits for it too long.
"""

import contextlib
import json
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

_FILES: Final = 64


def main() -> None:
    """Serve until the input ends."""
    memory, cpu_s = int(sys.argv[1]), int(sys.argv[2])
    with contextlib.suppress(OSError):  # where memory runs out, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    from imex.delivery.transcoding.pixels import Unfit, transcode  # within the limits

    while line := sys.stdin.buffer.readline():
        asked: dict[str, Any] = json.loads(line)
        data = sys.stdin.buffer.read(asked["size"])
        _allow(cpu_s)
        try:
            made = transcode(data, asked["stored"], asked["wanted"], asked["most_bytes"])
        except Unfit as error:
            _answer(sys.stdout.buffer, {"why": str(error)})
        except MemoryError:
            _answer(sys.stdout.buffer, {"why": "it needs more memory than transcoding may use"})
        else:
            _answer(sys.stdout.buffer, {}, made)


def _allow(cpu_s: int) -> None:
    """So much more of the processor's time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + cpu_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _answer(out: BinaryIO, told: dict[str, Any], data: bytes = b"") -> None:
    out.write(json.dumps({**told, "size": len(data)}).encode() + b"\n")
    out.write(data)
    out.flush()


if __name__ == "__main__":
    main()
