"""The directory of a file-set: DICOMDIR (PS3.3 annex F, PS3.10 section 8), for files that come one by one.

What is held of a file is its encoded directory record, some hundred bytes. Slow: pydicom reads and writes
the records' values.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import zip_longest
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.fileset import DIRECTORY_RECORDERS, _four_level_record_type
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag

from imex.dicom.part10 import file_meta
from imex.dicom.quiet import be_quiet
from imex.dicom.syntax import EXPLICIT_LITTLE_ENDIAN, encoding_of

DIRECTORY_CLASS: Final = "1.2.840.10008.1.3.10"
"""Media Storage Directory Storage."""
MOST_HEAD_BYTES: Final = 4 << 20
"""Of a data set, from its beginning: more is not looked at."""

_LINKS: Final = struct.Struct("<HH2sHL HH2sHH HH2sHL")
_NEXT_AT: Final = 8
_LOWER_AT: Final = 30
_ITEM: Final = struct.Struct("<HHL")

_INVENTED: Final[Mapping[str, Any]] = {
    "PatientID": "UNKNOWN",
    "StudyDate": "19000101",
    "StudyTime": "000000",
    "StudyID": "0",
    "StudyInstanceUID": "2.25.0",
    "Modality": "OT",
    "SeriesInstanceUID": "2.25.0",
    "SeriesNumber": "0",
    "InstanceNumber": "0",
    "ContentDate": "19000101",
    "ContentTime": "000000",
    "ContentLabel": "UNKNOWN",
    "CompletionFlag": "PARTIAL",
    "VerificationFlag": "UNVERIFIED",
    "DoseSummationType": "PLAN",
    "StructureSetLabel": "UNKNOWN",
    "RTPlanLabel": "UNKNOWN",
    "PresentationCreationDate": "19000101",
    "PresentationCreationTime": "000000",
    "InstanceCreationDate": "19000101",
    "UserContentLabel": "UNKNOWN",
}
"""For what a directory record has to have and a file lacks; the file is not touched."""
_OPTIONAL: Final = (
    "SpecificCharacterSet", "PatientName", "StudyDescription", "AccessionNumber", "SOPClassUID",
    "ConceptNameCodeSequence", "VerificationDateTime", "ContentDescription", "ContentCreatorName",
    "StructureSetDate", "StructureSetTime", "RTPlanDate", "RTPlanTime", "TreatmentDate", "TreatmentTime",
    "DocumentTitle", "ImageType", "NumberOfFrames", "Rows", "Columns", "DataPointRows", "DataPointColumns",
    "ReferencedSeriesSequence", "UserContentLongLabel",
)  # fmt: skip
_MIME_TYPES: Final = {
    "1.2.840.10008.5.1.4.1.1.104.1": "application/pdf",
    "1.2.840.10008.5.1.4.1.1.104.2": "text/XML",
    "1.2.840.10008.5.1.4.1.1.104.3": "model/stl",
    "1.2.840.10008.5.1.4.1.1.104.4": "model/obj",
    "1.2.840.10008.5.1.4.1.1.104.5": "model/mtl",
}
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_WANTED: Final[list[BaseTag | int]] = [
    BaseTag(tag) for word in (*_INVENTED, *_OPTIONAL) if (tag := tag_for_keyword(word)) is not None
]
_LAST_WANTED: Final = max(_WANTED)


def read_head(data: bytes | memoryview, transfer_syntax: str) -> Dataset:
    """What directory records say of a data set, from its first bytes; what cannot be read is left out."""
    be_quiet()
    encoding = encoding_of(transfer_syntax)
    if encoding.deflated:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MOST_HEAD_BYTES)
        except zlib.error:
            return Dataset()
    try:
        return read_dataset(
            BytesIO(data[:MOST_HEAD_BYTES]),
            encoding.implicit,
            not encoding.big_endian,
            stop_when=lambda tag, _vr, _length: tag > _LAST_WANTED or tag == _ENCAPSULATED_DOCUMENT,
            specific_tags=_WANTED,
        )
    except Exception:  # noqa: BLE001  pydicom raises what it likes; the file itself is handed out all the same
        return Dataset()


@dataclass(slots=True)
class _Node:
    """A directory record with those below it."""

    encoded: bytearray
    below: dict[str, "_Node"] = field(default_factory=dict)


class FileSetDirectory:
    """Records of files, added one after the other, and encoded at the end."""

    def __init__(self, name: str = "IMEX") -> None:
        """`name` is the file-set's id: at most 16 characters of a code string."""
        be_quiet()
        self._name = name
        self._patients: dict[str, _Node] = {}
        self._series: dict[str, int] = {}
        self._files = 0

    def next_file_id(self, head: Dataset) -> tuple[str, str, str]:
        """Where the next file of this series goes: components of at most 8 characters (PS3.10 8.2)."""
        uid = str(head.get("SeriesInstanceUID", ""))
        series = self._series.setdefault(uid, len(self._series) + 1)
        self._files += 1
        return "DICOM", f"S{series:07}", f"I{self._files:07}"

    def add(
        self, head: Dataset, file_id: tuple[str, ...], sop_class: str, sop_instance: str, transfer_syntax: str
    ) -> None:
        """One more file, of which `head` is what `read_head` gave."""
        head.SOPClassUID = sop_class
        kind = "ENCAP DOC" if sop_class in _MIME_TYPES else _four_level_record_type(head)
        head.MIMETypeOfEncapsulatedDocument = _MIME_TYPES.get(sop_class, "application/octet-stream")
        for word, invented in _INVENTED.items():
            if word not in head or not _has_value(head, word):
                setattr(head, word, invented)
        patient = _below(self._patients, str(head.PatientID), "PATIENT", head)
        study = _below(patient.below, str(head.StudyInstanceUID), "STUDY", head)
        series = _below(study.below, str(head.SeriesInstanceUID), "SERIES", head)
        named = Dataset()
        named.ReferencedFileID = list(file_id)
        named.ReferencedSOPClassUIDInFile = sop_class
        named.ReferencedSOPInstanceUIDInFile = sop_instance
        named.ReferencedTransferSyntaxUIDInFile = transfer_syntax
        series.below[sop_instance] = _Node(_record(kind, head, named))

    def encode(self, sop_instance_uid: str) -> Iterator[bytes]:
        """The file DICOMDIR, in pieces."""
        meta = file_meta(DIRECTORY_CLASS, sop_instance_uid, EXPLICIT_LITTLE_ENDIAN)
        ordered: list[_Node] = list(_walk(self._patients))
        length = sum(_ITEM.size + len(node.encoded) for node in ordered)
        name = self._name.encode("ascii")
        name += b" " * (len(name) % 2)
        start = len(meta) + 8 + len(name) + 12 + 12 + 10 + 12
        places: dict[int, int] = {}
        at = start
        for node in ordered:
            places[id(node)] = at
            at += _ITEM.size + len(node.encoded)
        roots = list(self._patients.values())
        _link(roots, places)
        first, last = (places[id(roots[0])], places[id(roots[-1])]) if roots else (0, 0)
        yield meta
        yield struct.pack("<HH2sH", 4, 0x1130, b"CS", len(name)) + name
        yield struct.pack("<HH2sHL", 4, 0x1200, b"UL", 4, first)
        yield struct.pack("<HH2sHL", 4, 0x1202, b"UL", 4, last)
        yield struct.pack("<HH2sHH", 4, 0x1212, b"US", 2, 0)
        yield struct.pack("<HH2sHL", 4, 0x1220, b"SQ", 0, length)
        for node in ordered:
            yield _ITEM.pack(0xFFFE, 0xE000, len(node.encoded)) + node.encoded


def _has_value(head: Dataset, word: str) -> bool:
    try:
        return bool(head[word].VM) and str(head[word].value).strip() != ""
    except Exception:  # noqa: BLE001  a value that cannot be decoded is none
        del head[word]
        return False


def _below(siblings: dict[str, _Node], key: str, kind: str, head: Dataset) -> _Node:
    if (found := siblings.get(key)) is None:
        found = siblings[key] = _Node(_record(kind, head, Dataset()))
    return found


def _record(kind: str, head: Dataset, named: Dataset) -> bytearray:
    """A record with links to nothing; where its values cannot be written, those that can be invented."""
    try:
        return _encoded(kind, DIRECTORY_RECORDERS[kind](head), named, head.get("SpecificCharacterSet"))
    except Exception:  # noqa: BLE001  a value of the file that cannot be written, or one more that it lacks
        plain = Dataset()
        for word, invented in _INVENTED.items():
            setattr(plain, word, invented)
        for word in ("StudyInstanceUID", "SeriesInstanceUID"):
            setattr(plain, word, str(head.get(word, "2.25.0")))
        kind = kind if kind in {"PATIENT", "STUDY", "SERIES"} else "IMAGE"
        return _encoded(kind, DIRECTORY_RECORDERS[kind](plain), named, None)


def _encoded(kind: str, record: Dataset, named: Dataset, character_set: Any) -> bytearray:
    if character_set:
        record.SpecificCharacterSet = character_set
    record.DirectoryRecordType = kind
    record.update(named)
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = False, True
    write_dataset(target, record)
    links = _LINKS.pack(*(4, 0x1400, b"UL", 4, 0), *(4, 0x1410, b"US", 2, 0xFFFF), *(4, 0x1420, b"UL", 4, 0))
    return bytearray(links + target.getvalue())


def _walk(nodes: Mapping[str, _Node]) -> Iterator[_Node]:
    for node in nodes.values():
        yield node
        yield from _walk(node.below)


def _link(siblings: list[_Node], places: Mapping[int, int]) -> None:
    """Write where the next record and the first one below are: bytes from the beginning of the file."""
    for node, following in zip_longest(siblings, siblings[1:]):
        below = list(node.below.values())
        struct.pack_into("<L", node.encoded, _NEXT_AT, places[id(following)] if following else 0)
        struct.pack_into("<L", node.encoded, _LOWER_AT, places[id(below[0])] if below else 0)
        _link(below, places)
