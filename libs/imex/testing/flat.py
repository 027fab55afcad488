"""Loads that tempt a process to grow: an instance of gigabytes, a study of many slices, associations at once.

`Peaks` says how much memory each of the stack's own processes had at the most while one was borne.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from imex.dicom import dataset_offset
from imex.dimse import StoreResponse, connect
from imex.events import SERVICES
from imex.testing.bystander import MIB, peak
from imex.testing.dicom import SyntheticInstance, new_uid, nhs_number
from imex.testing.peers import store
from imex.testing.stack import LocalStack

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
EXPLICIT = "1.2.840.10008.1.2.1"
MOST = 300_000_000
_SIDE = 512
_FRAME = 2 * _SIDE * _SIDE


class Peaks:
    """The most memory that each process of our services has had since this was made."""

    def __init__(self, stack: LocalStack) -> None:
        processes = stack.described["processes"]
        self._pids = {
            name: int(told["pid"]) for name, told in processes.items() if name.split("-")[0] in SERVICES
        }
        for pid in self._pids.values():
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # Linux: forget the peak so far

    def bytes(self) -> dict[str, int]:
        """By process. Raises FileNotFoundError where one has died."""
        return {name: peak(pid) for name, pid in self._pids.items()}

    def report(self) -> str:
        """In a line."""
        return ", ".join(f"{name} {size / MIB:.0f} MiB" for name, size in self.bytes().items())

    def hold(self) -> None:
        """None was above the bound."""
        for name, size in self.bytes().items():
            assert size < MOST, f"{name} had {size / MIB:.0f} MiB; {self.report()}"


@dataclass(frozen=True)
class MultiFrame:
    """An enhanced multi-frame CT that is made while it is sent, and never whole."""

    frames: int
    study_uid: str = field(default_factory=new_uid)
    sop_instance_uid: str = field(default_factory=new_uid)

    def pieces(self) -> Iterator[bytes]:
        """The encoded data set."""
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = ENHANCED_CT, self.sop_instance_uid
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.study_uid, self.study_uid + ".1"
        dataset.StudyDate, dataset.Modality = "20260401", "CT"
        dataset.PatientName, dataset.PatientID, dataset.IssuerOfPatientID = "TEST^FLAT", nhs_number(7), "NHS"
        dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns, dataset.NumberOfFrames = _SIDE, _SIDE, self.frames
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        out = DicomBytesIO()
        out.is_little_endian, out.is_implicit_VR = True, False
        write_dataset(out, dataset)
        yield out.getvalue() + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, self.frames * _FRAME)
        for number in range(self.frames):
            yield struct.pack("<H", number % 4096) * (_FRAME // 2)

    @property
    def length(self) -> int:
        """Bytes of the encoded data set."""
        return len(next(self.pieces())) + self.frames * _FRAME

    def digest(self) -> str:
        """SHA-256 of the encoded data set, in hex."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    async def send(self, port: int, calling_ae: str) -> StoreResponse:
        """C-STORE it."""

        async def chunks() -> AsyncIterator[bytes]:
            for piece in self.pieces():
                yield piece

        contexts = [(ENHANCED_CT, [EXPLICIT])]
        async with connect("127.0.0.1", port, calling_ae, "IMEX", contexts) as association:
            return await association.store(
                ENHANCED_CT, self.sop_instance_uid, EXPLICIT, chunks(), self.length
            )


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's data set, in hex, read piece by piece."""
    with path.open("rb") as file:
        start = dataset_offset(file.read(4096))
        file.seek(start)
        return hashlib.file_digest(file, "sha256").hexdigest()


async def send_over(
    port: int, calling_ae: str, instances: Sequence[SyntheticInstance], associations: int
) -> list[int]:
    """C-STORE instances over several associations, all of which stand before the first one sends."""
    contexts = [(instances[0].sop_class_uid, [instances[0].transfer_syntax])]
    standing = asyncio.Barrier(associations)

    async def one(mine: Sequence[SyntheticInstance]) -> list[int]:
        async with connect("127.0.0.1", port, calling_ae, "IMEX", contexts) as association:
            await standing.wait()
            return [(await store(association, each)).status for each in mine]

    answers = await asyncio.gather(*(one(instances[number::associations]) for number in range(associations)))
    return [status for statuses in answers for status in statuses]
