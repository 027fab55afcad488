"""Real DICOM peers for end-to-end tests: DCMTK's tools and Orthanc, each on loopback with its own folder."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from imex.dimse import Association, StoreResponse, connect
from imex.local import programs
from imex.local.hospital import digest_of, held_by_orthanc, orthanc_settings
from imex.testing.dicom import SyntheticInstance


class _Program:
    """A program that listens on a port, started and stopped by a test."""

    def __init__(self, argv: list[str], port: int, log: Path) -> None:
        self._argv = argv
        self.port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until its port answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + 20
        while not _listens(self.port):
            assert self._process.poll() is None, f"{self._argv[0]} ended: {self._log.read_text()[-800:]}"
            assert time.monotonic() < deadline, f"{self._argv[0]} does not listen on {self.port}"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it; harmless when it does not run."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None


class StoreScp(_Program):
    """DCMTK's `storescp`, writing every data set exactly as it came."""

    def __init__(self, ae_title: str, port: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        program = programs.dcmtk("storescp")
        assert program, "DCMTK is not installed; run: apt-get install -y dcmtk"
        self.received = 0
        # a name of its own for each C-STORE, so that a second one of the same instance can be counted
        options = ["--bit-preserving", "--accept-all", "--unique-filenames"]
        argv = [program, "-v", "-aet", ae_title, *options, "-od", str(folder), str(port)]
        super().__init__(argv, port, folder.parent / f"{folder.name}.log")

    @property
    def files(self) -> list[Path]:
        """One for each C-STORE that it received."""
        return [path for path in self._folder.iterdir() if path.is_file()]

    def held(self) -> list[str]:
        """The digests of what it received, one for each C-STORE, sorted."""
        return sorted(digest_of(path.read_bytes()) for path in self.files)


class Orthanc(_Program):
    """Orthanc, asked and told over its REST interface."""

    def __init__(
        self,
        ae_title: str,
        port: int,
        http_port: int,
        folder: Path,
        peers: Mapping[str, tuple[str, int]],
        *,
        dicomweb: bool = False,
    ) -> None:
        """`peers`: name → (AE title, port) of those it may send to. `dicomweb`: with its DICOMweb plugin."""
        folder.mkdir(parents=True, exist_ok=True)
        program = programs.orthanc()
        assert program, "Orthanc is not installed; run: apt-get install -y orthanc"
        configuration = folder / "orthanc.json"
        modalities = {name: [title, "127.0.0.1", at] for name, (title, at) in peers.items()}
        settings = orthanc_settings(ae_title, ae_title, folder, port, http_port)
        settings["DicomModalities"] = modalities
        if dicomweb:
            plugin = programs.orthanc_dicomweb()
            assert plugin, "its DICOMweb plugin is not installed; run: apt-get install -y orthanc-dicomweb"
            settings["Plugins"] = [plugin]
            settings["DicomWeb"] = {"Enable": True, "Root": "/dicom-web/"}
        configuration.write_text(json.dumps(settings))
        super().__init__([program, str(configuration)], port, folder / "orthanc.log")
        self._base = f"http://127.0.0.1:{http_port}"
        self.dicomweb = f"{self._base}/dicom-web"

    def start(self) -> None:
        """Start it and wait for both of its ports."""
        super().start()
        deadline = time.monotonic() + 20
        while True:
            try:
                self._get("/system")
            except httpx2.HTTPError:
                assert time.monotonic() < deadline, "Orthanc's REST interface does not answer"
                time.sleep(0.05)
            else:
                return

    def load(self, files: Iterable[Path]) -> None:
        """Put files into it, as if it had always had them."""
        with httpx2.Client(base_url=self._base, timeout=60) as client:
            for path in files:
                client.post("/instances", content=path.read_bytes()).raise_for_status()

    def send(self, study_uid: str, peer: str) -> None:
        """C-STORE a study that it has to a peer."""
        with httpx2.Client(base_url=self._base, timeout=120) as client:
            found = client.post(
                "/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": study_uid}}
            )
            client.post(f"/modalities/{peer}/store", json=found.json()).raise_for_status()

    def held(self, study_uid: str) -> Mapping[str, str]:
        """SOP Instance UID to digest of what it has of a study."""
        return held_by_orthanc(self._base, study_uid)

    def get(self, path: str) -> Any:
        """What its REST interface says."""
        return self._get(path)

    def post(self, path: str, body: Any) -> Any:
        """Ask its REST interface for something."""
        with httpx2.Client(base_url=self._base, timeout=60) as client:
            return client.post(path, json=body).raise_for_status().json()

    def _get(self, path: str) -> Any:
        with httpx2.Client(base_url=self._base, timeout=5) as client:
            return client.get(path).raise_for_status().json()


def dcmsend(
    port: int, files: Iterable[Path], calling: str, called: str = "IMEX", *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Send files in one association with DCMTK's `dcmsend`."""
    program = programs.dcmtk("dcmsend")
    assert program, "DCMTK is not installed; run: apt-get install -y dcmtk"
    argv = [program, "-v", "-aet", calling, "-aec", called, "--no-halt"]
    done = subprocess.run(
        [*argv, "127.0.0.1", str(port), *map(str, files)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr[-2000:]
    return done


def storescu(
    port: int, files: Iterable[Path], calling: str, called: str = "IMEX"
) -> subprocess.CompletedProcess[str]:
    """Send files with DCMTK's `storescu`, which shows statuses and Error Comments; never raises."""
    program = programs.dcmtk("storescu")
    assert program, "DCMTK is not installed; run: apt-get install -y dcmtk"
    return subprocess.run(
        [program, "-d", "-aet", calling, "-aec", called, "127.0.0.1", str(port), *map(str, files)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def send(port: int, instances: Sequence[SyntheticInstance], calling: str, called: str = "IMEX") -> list[int]:
    """C-STORE instances with our own requestor, which sends any bytes; gives back the statuses."""

    async def sending() -> list[int]:
        contexts = sorted({(each.sop_class_uid, each.transfer_syntax) for each in instances})
        proposed = [(sop_class, [syntax]) for sop_class, syntax in contexts]
        async with connect("127.0.0.1", port, calling, called, proposed) as association:
            return [(await store(association, each)).status for each in instances]

    return asyncio.run(sending())


async def store(association: Association, instance: SyntheticInstance) -> StoreResponse:
    """C-STORE one instance."""

    async def whole() -> AsyncIterator[bytes]:
        yield instance.dataset

    return await association.store(
        instance.sop_class_uid,
        instance.sop_instance_uid,
        instance.transfer_syntax,
        whole(),
        len(instance.dataset),
    )


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False
