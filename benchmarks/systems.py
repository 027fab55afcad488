"""The systems under test: each takes images on a DICOM port and hands them on to the same receiver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import yaml

from imex.local.ports import free_ports
from imex.testing.stack import LocalStack

SENDER, RECEIVER = "BENCH_A", "BENCH_B"
_ORTHANC_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin"


class System(Protocol):
    """Something that forwards what it receives."""

    name: str
    called: str
    port: int

    def start(self) -> None:
        """Begin to listen."""

    def processes(self) -> Mapping[str, int]:
        """Name to process id of all that belongs to it."""

    def stop(self) -> None:
        """End all of it."""


class Imex:
    """All services on real Kafka, MinIO and PostgreSQL; an emergency rule, so that images stream."""

    name = "Imex"
    called = "IMEX"

    def __init__(self, home: Path, receiver_port: int) -> None:
        self._stack = LocalStack(home)
        self._receiver_port = receiver_port
        self.port = 0

    def start(self) -> None:
        """The stack, with a directory that names the two ends."""
        self._stack.up()
        self.port = int(self._stack.described["dicom"]["port"])
        file = self._stack.home.root / "bench-directory.yaml"
        file.write_text(yaml.safe_dump(self._directory()))
        applied = self._stack.imex("directory", "apply", str(file))
        if applied.returncode != 0:
            raise RuntimeError(applied.stderr)
        time.sleep(3)  # the time within which a directory is promised to be in force everywhere

    def _directory(self) -> Mapping[str, object]:
        endpoint = {
            "name": "pacs", "type": "dicom", "ae_title": RECEIVER, "host": "127.0.0.1",
            "port": self._receiver_port, "accepts": {"max_associations": 2, "sop_classes": "any"},
        }  # fmt: skip
        return {
            "institutions": [
                {"code": "BNA", "name": "A", "kind": "nhs", "senders": [{"ae_title": SENDER}]},
                {"code": "BNB", "name": "B", "kind": "nhs", "endpoints": [endpoint]},
            ],
            "agreements": [
                {
                    "id": "bench", "from": "BNA", "to": "BNB", "purposes": ["direct-care"],
                    "legal_basis": "synthetic", "valid_from": "2026-01-01", "valid_until": "2036-01-01",
                }
            ],
            "rules": [
                {
                    "id": "bench", "match": {"source": "BNA"}, "to": ["BNB"], "purpose": "direct-care",
                    "priority": "emergency", "quiet_s": 2,
                }
            ],
        }  # fmt: skip

    def processes(self) -> Mapping[str, int]:
        """As `stack.json` names them."""
        return {name: int(part["pid"]) for name, part in self._stack.described["processes"].items()}

    def stop(self) -> None:
        """Stop and delete."""
        self._stack.run("reset")


class Orthanc:
    """Orthanc with storage synced, which is its default, and auto-forwarding of every instance by Lua."""

    name = "Orthanc"
    called = "ORTHANC"

    def __init__(self, folder: Path, receiver_port: int) -> None:
        self._folder = folder
        self._receiver_port = receiver_port
        self.port, self._http = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program() -> str | None:
        """Where it is installed."""
        return shutil.which("Orthanc") or shutil.which("Orthanc", path=_ORTHANC_PATH)

    def start(self) -> None:
        """A new, empty Orthanc."""
        self._folder.mkdir(parents=True)
        script = self._folder / "forward.lua"
        script.write_text(
            "function OnStoredInstance(instanceId, tags, metadata)\n  SendToModality(instanceId, 'b')\nend\n"
        )
        configuration = self._folder / "orthanc.json"
        configuration.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(self._folder / "storage"),
                    "IndexDirectory": str(self._folder / "storage"),
                    "DicomAet": self.called,
                    "DicomPort": self.port,
                    "HttpPort": self._http,
                    "DicomAlwaysAllowStore": True,
                    "DicomModalities": {"b": [RECEIVER, "127.0.0.1", self._receiver_port]},
                    "LuaScripts": [str(script)],
                    "Plugins": [],
                }
            )
        )
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(self.program()), str(configuration)],
                # its DIMSE is DCMTK's: at its best, as the senders are
                env={**os.environ, "TCP_NODELAY": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def processes(self) -> Mapping[str, int]:
        """One process."""
        assert self._process is not None
        return {"orthanc": self._process.pid}

    def stop(self) -> None:
        """End it and delete what it stored."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self._folder)


def installed(scratch: Path, receivers: Sequence[int]) -> list[System]:
    """Imex and the peers that are here, each with a receiver's port."""
    systems: list[System] = [Imex(scratch / "imex", receivers[0])]
    if Orthanc.program() is not None:
        systems.append(Orthanc(scratch / "orthanc", receivers[1]))
    return systems
