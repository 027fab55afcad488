"""Orthanc, told what to send and asked what it holds over its REST interface."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pydicom

from imex.dicom import dataset_offset
from imex.local import programs
from imex.local.hospital import orthanc_settings
from imex.local.ports import free_ports
from imex.testing.dimse import Instance
from imex.testing.interop.peer import Node, PeerFailed, PeerTls, Program, run


def _program() -> str:
    found = programs.orthanc()
    if found is None:
        raise PeerFailed("Orthanc is not installed; run: apt-get install -y orthanc")
    return found


def _version() -> str:
    return f"Orthanc {run([_program(), '--version']).split()[1]}"


@dataclass(frozen=True)
class _Running:
    """Orthanc at work."""

    port: int
    base: str

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.base, timeout=60)

    def instances(self) -> list[Instance]:
        with self.client() as client:
            ids = client.get("/instances").raise_for_status().json()
            return [_read(client.get(f"/instances/{each}/file").raise_for_status().content) for each in ids]


def _read(content: bytes) -> Instance:
    offset = dataset_offset(content)
    meta = pydicom.dcmread(io.BytesIO(content[:offset])).file_meta
    return Instance(
        str(meta.MediaStorageSOPClassUID),
        str(meta.MediaStorageSOPInstanceUID),
        str(meta.TransferSyntaxUID),
        content[offset:],
    )


@contextmanager
def _orthanc(ae_title: str, folder: Path, tls: PeerTls | None, *, secured_port: bool) -> Iterator[_Running]:
    """`secured_port`: its own port speaks TLS too; without, it only calls with TLS."""
    port, http_port = free_ports(2)
    folder.mkdir(parents=True, exist_ok=True)
    settings = orthanc_settings(ae_title, ae_title, folder, port, http_port)
    if tls is not None:
        settings |= {
            "DicomTlsEnabled": secured_port,
            "DicomTlsCertificate": str(tls.certificate),
            "DicomTlsPrivateKey": str(tls.key),
            "DicomTlsTrustedCertificates": str(tls.ca),
        }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    running = _Running(port, f"http://127.0.0.1:{http_port}")
    server = Program([_program(), str(configuration)], port, folder / "orthanc.log", patient=False)
    with server.running():  # it takes 3 s to stop when it is asked to
        _answering(running)
        yield running


def _answering(running: _Running) -> None:
    deadline = time.monotonic() + 20
    with running.client() as client:
        while True:
            try:
                client.get("/system").raise_for_status()
            except httpx2.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


class OrthancSender:
    """Orthanc's C-STORE SCU."""

    name = "Orthanc"
    no_tls = ""
    encodes_anew = ""
    omits: Mapping[str, str] = {}

    def version(self) -> str:
        """Orthanc's."""
        return _version()

    def echo(self, node: Node, folder: Path) -> None:
        """`/modalities/{name}/echo`."""
        with self._calling(node, folder) as client:
            _succeed(client.post("/modalities/imex/echo", json={}))

    def send(self, files: Sequence[Path], node: Node, folder: Path) -> None:
        """`/modalities/{name}/store`, all in one association."""
        with self._calling(node, folder) as client:
            ids = []
            for path in files:
                loaded = client.post("/instances", content=path.read_bytes())
                _succeed(loaded)
                ids.append(loaded.json()["ID"])
            sent = client.post("/modalities/imex/store", json=ids)
            _succeed(sent)
            if sent.json()["FailedInstancesCount"]:
                raise PeerFailed(f"Orthanc: {sent.text}")

    @contextmanager
    def _calling(self, node: Node, folder: Path) -> Iterator[httpx2.Client]:
        home = Path(tempfile.mkdtemp(dir=folder))  # an empty one each time
        modality = {"AET": node.called_ae, "Host": node.host, "Port": node.port}
        with (
            _orthanc(node.calling_ae, home, node.tls, secured_port=False) as running,
            running.client() as client,
        ):
            _succeed(client.put("/modalities/imex", json={**modality, "UseDicomTls": node.tls is not None}))
            yield client


def _succeed(answer: httpx2.Response) -> None:
    if answer.status_code != 200:
        raise PeerFailed(f"Orthanc answered {answer.status_code}: {answer.text[:500]}")


class OrthancReceiver:
    """Orthanc's C-STORE SCP."""

    name = "Orthanc"
    omits: Mapping[str, str] = {}

    def version(self) -> str:
        """Orthanc's."""
        return _version()

    @contextmanager
    def receiving(self, ae_title: str, folder: Path, tls: PeerTls | None) -> Iterator[_Running]:
        """With an empty database."""
        with _orthanc(ae_title, folder, tls, secured_port=True) as running:
            yield running
