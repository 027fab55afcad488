"""A receipt beside DICOM files: whether these are the data sets that it lists."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imex.dicom.part10 import dataset_offset

_CHUNK = 1 << 20
_HEADER = 1 << 16


@dataclass(slots=True)
class Compared:
    """What was found of a receipt's instances, by SOP Instance UID."""

    as_received: list[str] = field(default_factory=list)
    """Files that are the sender's data sets, byte for byte."""
    as_sent: list[str] = field(default_factory=list)
    """Files that are what was sent, where that was changed on the way."""
    missing: list[str] = field(default_factory=list)
    """Listed as confirmed, and no file is its data set."""
    strangers: list[Path] = field(default_factory=list)
    """DICOM files that the receipt does not list."""
    unreadable: list[Path] = field(default_factory=list)
    """Files that are no DICOM."""

    @property
    def holds(self) -> bool:
        """Every confirmed instance is there."""
        return not self.missing


def compare(instances: Iterable[Mapping[str, Any]], folder: Path) -> Compared:
    """Look for each confirmed instance by the digest of its data set, without the file's preamble and meta.

    A file that an archive has written anew, in another transfer syntax or with other group lengths, is
    another data set.
    """
    found = Compared()
    by_digest: dict[str, Path] = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        digest = dataset_digest(path)
        if digest is None:
            found.unreadable.append(path)
        else:
            by_digest[digest] = path
    used = set()
    for one in instances:
        if one.get("status") != "confirmed":
            continue
        uid = str(one["sop_instance_uid"])
        for digest, into in (
            (one.get("digest"), found.as_received),
            (one.get("delivered_digest"), found.as_sent),
        ):
            if digest in by_digest:
                into.append(uid)
                used.add(digest)
                break
        else:
            found.missing.append(uid)
    found.strangers = [path for digest, path in by_digest.items() if digest not in used]
    return found


def dataset_digest(path: Path) -> str | None:
    """`sha256:` and the hex digest of a file's encoded data set; None where the file is no DICOM (PS3.10)."""
    hashed = hashlib.sha256()
    try:
        for piece in _dataset(path):
            hashed.update(piece)
    except ValueError:
        return None
    return "sha256:" + hashed.hexdigest()


def _dataset(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        head = file.read(_HEADER)
        if head[128:132] != b"DICM":
            raise ValueError("no DICOM file")
        yield head[dataset_offset(head) :]
        while piece := file.read(_CHUNK):
            yield piece
