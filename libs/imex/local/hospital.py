"""Hospital B: a PACS that receives, Orthanc where it is installed, else DCMTK's `storescp`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import httpx2

from imex.dicom.part10 import dataset_offset
from imex.local import programs
from imex.local.cache import PartUnavailable
from imex.local.process import Launch, Probe, write_private

NAME = "hospital-b"
AE_TITLE = "RT3_PACS"


class Receiver(Protocol):
    """A receiving PACS and a way to see what it holds."""

    @property
    def launch(self) -> Launch:
        """How it is started."""

    @property
    def product(self) -> str:
        """What it is, for people."""

    def held(self, study_uid: str) -> Mapping[str, str]:
        """SOP Instance UID to digest (`sha256:…` of the encoded data set) of what it has of a study."""


def receiver(data: Path, log: Path, port: int, http_port: int) -> Receiver:
    """The best PACS that is installed; raises `PartUnavailable` when there is none."""
    orthanc = programs.orthanc()
    if orthanc is not None:
        return Orthanc(orthanc, data / "orthanc", log, port, http_port)
    storescp = programs.dcmtk("storescp")
    if storescp is not None:
        return StoreScp(storescp, data / "storescp", log, port)
    raise PartUnavailable("no PACS to receive with; run: apt-get install -y orthanc (or dcmtk)")


def digest_of(file: bytes) -> str:
    """The digest of the data set in a Part-10 file, as receipts state it."""
    return f"sha256:{hashlib.sha256(memoryview(file)[dataset_offset(file) :]).hexdigest()}"


def orthanc_settings(name: str, ae_title: str, data: Path, port: int, http_port: int) -> dict[str, object]:
    """Orthanc's configuration: on loopback, storage below `data`, taking whatever is sent to its title."""
    return {
        "Name": name,
        "StorageDirectory": str(data / "storage"),
        "IndexDirectory": str(data / "storage"),
        "DicomAet": ae_title,
        "DicomPort": port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
    }


def held_by_orthanc(base: str, study_uid: str) -> Mapping[str, str]:
    """SOP Instance UID to digest of a study, each instance fetched as the file that Orthanc keeps.

    `base` is the address of its REST interface. Raises httpx2's errors.
    """
    found: dict[str, str] = {}
    with httpx2.Client(base_url=base, timeout=60.0) as client:
        query = {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": study_uid}}
        for instance in client.post("/tools/find", json=query).raise_for_status().json():
            file = client.get(f"/instances/{instance['ID']}/file").raise_for_status().content
            found[instance["MainDicomTags"]["SOPInstanceUID"]] = digest_of(file)
    return found


class Orthanc:
    """Orthanc with its own storage, asked over its REST interface."""

    product = "Orthanc"

    def __init__(self, program: str, data: Path, log: Path, port: int, http_port: int) -> None:
        data.mkdir(parents=True, exist_ok=True)
        configuration = data / "orthanc.json"
        settings = orthanc_settings("Hospital B", AE_TITLE, data, port, http_port)
        write_private(configuration, json.dumps(settings, indent=1))
        self._base = f"http://127.0.0.1:{http_port}"
        self.launch = Launch(
            NAME, (program, str(configuration)), Probe("http", f"{self._base}/system"), data, log
        )

    def held(self, study_uid: str) -> Mapping[str, str]:
        """As Orthanc answers it."""
        return held_by_orthanc(self._base, study_uid)


class StoreScp:
    """DCMTK's `storescp`, writing each data set as it came."""

    product = "DCMTK storescp"

    def __init__(self, program: str, data: Path, log: Path, port: int) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._data = data
        options = ("--bit-preserving", "--accept-all", "--promiscuous")
        argv = (program, "-aet", AE_TITLE, *options, "-od", str(data), str(port))
        self.launch = Launch(NAME, argv, Probe("tcp", f"127.0.0.1:{port}"), data, log)

    def held(self, study_uid: str) -> Mapping[str, str]:
        """Files are named `<modality>.<SOP Instance UID>`; only what is re-encoded is sorted by study."""
        from pydicom import dcmread

        found = {}
        for file in self._data.glob("*.*"):
            of = dcmread(file, specific_tags=["StudyInstanceUID"], stop_before_pixels=True)
            if of.get("StudyInstanceUID") == study_uid:
                found[file.name.partition(".")[2]] = digest_of(file.read_bytes())
        return found
