"""Orthanc at its best: storage synced, its DIMSE without Nagle's delay, the longest PDUs, enough threads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.corpus import Corpus, Study
from benchmarks.ends import Sending, order
from benchmarks.systems.port import RECEIVER, end, listening
from imex.local import programs
from imex.local.ports import free_ports

_FORWARD = "function OnStoredInstance(instanceId, tags, metadata)\n  SendToModality(instanceId, 'b')\nend\n"


class Orthanc:
    """Two of it: one that forwards every instance by Lua, one that only keeps what it receives."""

    name = "Orthanc"
    called = "ORTHANC"
    calling = "BENCH_A"

    def __init__(self, folder: Path, receiver_port: int) -> None:
        self._forwarding = _Node(folder / "forwarding", receiver_port, _FORWARD)
        self._keeping = _Node(folder / "keeping", receiver_port, "")
        self.port = self._forwarding.port

    def start(self) -> None:
        """New, empty ones."""
        for node in (self._forwarding, self._keeping):
            node.start()

    def processes(self) -> Mapping[str, int]:
        """One of them is always idle."""
        return {"orthanc": self._forwarding.pid, "orthanc-2": self._keeping.pid}

    @contextmanager
    def receiving_only(self) -> Iterator[str]:
        """Speak to the one that does not forward."""
        self.port = self._keeping.port
        try:
            yield self.calling
        finally:
            self.port = self._forwarding.port

    def taken(self, associations: Sequence[Sequence[Study]]) -> None:
        """It forwards by itself."""

    def hold_and_send(self, corpus: Corpus, study: Study) -> None:
        """One job for the whole study, on one association."""
        Sending(order(corpus, self._keeping.port, self.calling, self.called, [[study]])).result()
        (found,) = self._keeping.ask("POST", "/tools/lookup", study.study)
        self._keeping.ask("POST", "/modalities/b/store", json.dumps({"Resources": [found["ID"]]}))

    def clean(self) -> None:
        """Delete what it has."""
        for node in (self._forwarding, self._keeping):
            for patient in node.ask("GET", "/patients"):
                node.ask("DELETE", f"/patients/{patient}")

    def stop(self) -> None:
        """End both and delete what they stored."""
        for node in (self._forwarding, self._keeping):
            node.stop()


class _Node:
    def __init__(self, folder: Path, receiver_port: int, script: str) -> None:
        self._folder = folder
        self._script = script
        self._receiver_port = receiver_port
        self.port, self._http = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._folder.mkdir(parents=True)
        script = self._folder / "forward.lua"
        script.write_text(self._script)
        configuration = self._folder / "orthanc.json"
        configuration.write_text(json.dumps(self._settings(script)))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(programs.orthanc()), str(configuration)],
                # its DIMSE is DCMTK's, which has Nagle's delay switched on without it
                env={**os.environ, "TCP_NODELAY": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        listening(self.port)
        listening(self._http)

    def _settings(self, script: Path) -> Mapping[str, Any]:
        return {
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "SyncStorageArea": True,
            "StoreMD5ForAttachments": False,
            "DicomAet": Orthanc.called,
            "DicomPort": self.port,
            "DicomThreadsCount": 16,
            "MaximumPduLength": 131072,
            "HttpPort": self._http,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": {"b": [RECEIVER, "127.0.0.1", self._receiver_port]},
            "LuaScripts": [str(script)],
            "ConcurrentJobs": 4,
            "JobsHistorySize": 10,
            "SaveJobs": False,
            "Plugins": [],
        }

    def ask(self, method: str, path: str, body: str | None = None) -> Any:
        with httpx2.Client(base_url=f"http://127.0.0.1:{self._http}", timeout=120) as client:
            return client.request(method, path, content=body).raise_for_status().json()

    def stop(self) -> None:
        end(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)
