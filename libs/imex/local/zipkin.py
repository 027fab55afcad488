"""Zipkin, where traces are kept (in memory, bounded) and looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imex.local.cache import cached, run_shown, tool
from imex.local.process import Launch, Probe

VERSION = "3.5.1"
_SPANS_KEPT = 200_000


@dataclass(frozen=True)
class ZipkinConfig:
    """Where Zipkin listens and logs."""

    home: Path
    log: Path
    port: int


def jar() -> Path:
    """The server's executable jar, fetched by Maven at the first call."""

    def build(target: Path) -> None:
        artifact = f"-Dartifact=io.zipkin:zipkin-server:{VERSION}:jar:exec"
        argv = [
            tool("mvn", "maven"),
            *("-B", "-q", "dependency:copy", artifact, f"-DoutputDirectory={target.parent}"),
        ]
        run_shown(f"fetching Zipkin {VERSION} (131 MB)", argv)
        (target.parent / f"zipkin-server-{VERSION}-exec.jar").rename(target)

    return cached(f"zipkin-{VERSION}.jar", build)


def prepare(config: ZipkinConfig) -> Launch:
    """Say how to start it; raises `PartUnavailable` when Java or Maven is missing."""
    config.home.mkdir(parents=True, exist_ok=True)
    return Launch(
        name="zipkin",
        argv=(
            *(tool("java", "default-jre-headless"), "-Xms64m", "-Xmx256m", "-XX:TieredStopAtLevel=1"),
            *("-XX:+ExitOnOutOfMemoryError", "-jar", str(jar())),
            "--armeria.ports[0].ip=127.0.0.1",
            f"--armeria.ports[0].port={config.port}",
            "--armeria.ports[0].protocols[0]=http",
        ),
        probe=Probe("http", f"http://127.0.0.1:{config.port}/health"),
        cwd=config.home,
        log=config.log,
        environment={
            "STORAGE_TYPE": "mem",
            "MEM_MAX_SPANS": str(_SPANS_KEPT),
            "QUERY_PORT": str(config.port),
            "SELF_TRACING_ENABLED": "false",
        },
    )
