"""What a simulated PACS received and what it keeps of it. Memory holds facts for queries, never pixels."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from imex.dicom.part10 import file_meta

QUERIED: Final = (
    *(
        "SpecificCharacterSet",
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
    ),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyDescription", "StudyID", "AccessionNumber"),
    *("ReferringPhysicianName", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"),
    *("BodyPartExamined", "SOPInstanceUID", "SOPClassUID", "InstanceNumber", "Rows", "Columns"),
)
"""What queries can ask for, by keyword."""
_COPY: Final = 1 << 20


@dataclass(slots=True)
class Tally:
    """What became of everything that came under one SOP Instance UID."""

    received: int = 0
    """How often all of its data came in."""
    kept: int = 0
    """How often it was put away; a second time in place of the first."""
    digests: set[str] = field(default_factory=set)
    """Of the data sets that were put away."""
    answers: Counter[str] = field(default_factory=Counter)
    """What was answered, how often."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A data set that came in whole."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    digest: str
    data: BinaryIO


@dataclass(frozen=True, slots=True)
class Kept:
    """An instance as queries see it."""

    facts: Any
    """A pydicom data set with what is in `QUERIED`."""
    digest: str
    visible_from: float


class Shelf:
    """Everything that one simulated PACS has seen."""

    def __init__(self, directory: Path | None = None) -> None:
        """Files go into `directory`, if there is one."""
        self.tallies: dict[str, Tally] = {}
        self.associations: Counter[str] = Counter()
        """Associations, or STOW-RS requests, by what became of them."""
        self._kept: dict[str, Kept] = {}
        self._directory = directory
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)

    def forget(self) -> None:
        """Begin with nothing; files stay."""
        self.tallies.clear()
        self.associations.clear()
        self._kept.clear()

    def tally(self, sop_instance_uid: str) -> Tally:
        """Of one SOP Instance UID."""
        return self.tallies.setdefault(sop_instance_uid, Tally())

    def put(
        self,
        arrived: Arrived,
        *,
        as_uid: str = "",
        changed: Mapping[str, str] | None = None,
        late_s: float = 0.0,
    ) -> None:
        """Put an instance away, under another SOP Instance UID or with other facts where asked for."""
        uid = as_uid or arrived.sop_instance_uid
        tally = self.tally(uid)
        tally.kept += 1
        tally.digests.add(arrived.digest)
        facts = _facts(arrived)
        facts.SOPInstanceUID, facts.SOPClassUID = uid, arrived.sop_class_uid
        for keyword, value in (changed or {}).items():
            setattr(facts, keyword, value)
        self._kept[uid] = Kept(facts, arrived.digest, time.monotonic() + late_s)
        if self._directory is not None:
            self._write(self._directory / f"{_safe(uid)}.dcm", arrived)

    def visible(self) -> Iterator[Any]:
        """The facts of all instances that queries see now."""
        now = time.monotonic()
        return (one.facts for one in self._kept.values() if one.visible_from <= now)

    def holds(self, sop_instance_uid: str) -> bool:
        """Whether it is there, visible or not."""
        return sop_instance_uid in self._kept

    @property
    def held(self) -> dict[str, str]:
        """SOP Instance UIDs of what is kept, with the digests of the data sets."""
        return {uid: one.digest for uid, one in self._kept.items()}

    def _write(self, path: Path, arrived: Arrived) -> None:
        meta = file_meta(arrived.sop_class_uid, arrived.sop_instance_uid, arrived.transfer_syntax)
        arrived.data.seek(0)
        with path.open("wb") as file:
            file.write(meta)
            while piece := arrived.data.read(_COPY):
                file.write(piece)


def _facts(arrived: Arrived) -> Any:
    """What can be asked for, of a data set that may be anything."""
    import io

    import pydicom

    arrived.data.seek(0)
    head = file_meta(arrived.sop_class_uid, arrived.sop_instance_uid, arrived.transfer_syntax)
    try:
        read = pydicom.dcmread(
            io.BytesIO(head + arrived.data.read(_COPY)),
            stop_before_pixels=True,
            specific_tags=list(QUERIED),
        )
    except Exception:  # noqa: BLE001  a PACS keeps what it cannot read, too
        return pydicom.Dataset()
    facts = pydicom.Dataset()
    for keyword in QUERIED:
        if keyword in read:
            facts[keyword] = read[keyword]
    return facts


def _safe(uid: str) -> str:
    return "".join(char for char in uid if char.isdigit() or char == ".").strip(".") or "unnamed"
