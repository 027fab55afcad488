"""pydicom's own test files, as far as its wheel has them: which a peer can send, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom.filereader
from pydicom.data.data_manager import DATA_ROOT

from imex.dicom import dataset_offset
from imex.testing.dimse import Instance

ROOT: Final = Path(DATA_ROOT)
_NO_DICOM = "no DICOM"
_MEDIA_ONLY = "Media Storage Directory: exists on media only, no service carries it (PS3.4 annex B)"
_NO_UIDS = "no SOP Class UID and SOP Instance UID, which a C-STORE-RQ has to name (PS3.7 9.3.1)"

NOT_SENT: Final = {
    "charset_files/FileInfo.txt": _NO_DICOM,
    "palettes/README.md": _NO_DICOM,
    "test_files/README.txt": _NO_DICOM,
    "test_files/crayons.icc": _NO_DICOM,
    "test_files/dicomdirtests/README.txt": _NO_DICOM,
    "test_files/dicomdirtests/TINY_ALPHA/README": _NO_DICOM,
    "test_files/rtplan.dump": _NO_DICOM,
    "test_files/test1.json": _NO_DICOM,
    "test_files/test_PN.json": _NO_DICOM,
    "test_files/rtstruct.dump": _NO_DICOM,
    "test_files/zipMR.gz": "compressed as a whole: nothing sends it without making another file of it first",
    "test_files/dicomdirtests/DICOMDIR": _MEDIA_ONLY,
    "test_files/dicomdirtests/DICOMDIR-bigEnd": _MEDIA_ONLY,
    "test_files/dicomdirtests/DICOMDIR-empty.dcm": _MEDIA_ONLY,
    "test_files/dicomdirtests/DICOMDIR-implicit": _MEDIA_ONLY,
    "test_files/dicomdirtests/DICOMDIR-nooffset": _MEDIA_ONLY,
    "test_files/dicomdirtests/DICOMDIR-nopatient": _MEDIA_ONLY,
    "test_files/dicomdirtests/DICOMDIR-reordered": _MEDIA_ONLY,
    "test_files/dicomdirtests/TINY_ALPHA/DICOMDIR": _MEDIA_ONLY,
    "test_files/empty_charset_LEI.dcm": _NO_UIDS,
    "test_files/meta_missing_tsyntax.dcm": _NO_UIDS,
    "test_files/nested_priv_SQ.dcm": _NO_UIDS,
    "test_files/no_meta.dcm": _NO_UIDS,
}
"""Files that no peer can send, and why."""

_UIDS_IN_META_ONLY = "DCMTK takes the UIDs from the data set, which has none"
_CUT_SHORT = "DCMTK does not send what it cannot parse to its end"

NOT_SENT_BY_STORESCU: Final = {
    "charset_files/chrSQEncoding.dcm": _UIDS_IN_META_ONLY,
    "charset_files/chrSQEncoding1.dcm": _UIDS_IN_META_ONLY,
    "test_files/UN_sequence.dcm": _UIDS_IN_META_ONLY,
    "test_files/no_meta_group_length.dcm": _UIDS_IN_META_ONLY,
    "test_files/priv_SQ.dcm": _UIDS_IN_META_ONLY,
    "test_files/rtdose_rle.dcm": _UIDS_IN_META_ONLY,
    "test_files/rtdose_rle_1frame.dcm": _UIDS_IN_META_ONLY,
    "test_files/MR_truncated.dcm": _CUT_SHORT,
    "test_files/rtplan_truncated.dcm": _CUT_SHORT,
    "test_files/SC_rgb_jpeg.dcm": "unreadable for DCMTK: implicit, and called explicit",
} | {
    f"palettes/{name}.dcm": "storescu proposes no context for Color Palette; dcmsend does"
    for name in ("fall", "hotiron", "hotmetalblue", "pet", "pet20step", "spring", "summer", "winter")
}
"""Of the files that can be sent those that DCMTK's `storescu` cannot, and why."""

_BARE: Final = {
    "test_files/ExplVR_BigEndNoMeta.dcm": "1.2.840.10008.1.2.2",
    "test_files/ExplVR_LitEndNoMeta.dcm": "1.2.840.10008.1.2.1",
    "test_files/rtstruct.dcm": "1.2.840.10008.1.2",
}
"""Data sets without preamble and meta information, and the transfer syntax that they are encoded in."""


@dataclass(frozen=True)
class PydicomFile:
    """A file that can be sent. `name` is its path below pydicom's data folder."""

    name: str
    path: Path
    instance: Instance

    @property
    def has_meta(self) -> bool:
        """Whether it is a file with meta information rather than a bare data set."""
        return self.name not in _BARE


def every_file() -> dict[str, Path]:
    """All files of pydicom's data folder but for its code, by name."""
    return {
        str(path.relative_to(ROOT)): path
        for path in sorted(ROOT.rglob("*"))
        if path.is_file() and path.parent != ROOT and path.suffix != ".pyc"
    }


def sendable_files() -> list[PydicomFile]:
    """Every file that a peer can send, with the data set as it stands in the file."""
    return [
        PydicomFile(name, path, _instance(name, path))
        for name, path in every_file().items()
        if name not in NOT_SENT
    ]


def _instance(name: str, path: Path) -> Instance:
    content = path.read_bytes()
    if name in _BARE:
        dataset = pydicom.dcmread(path, force=True)
        return Instance(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), _BARE[name], content)
    meta = pydicom.filereader.read_file_meta_info(path)
    return Instance(
        str(meta.MediaStorageSOPClassUID),
        str(meta.MediaStorageSOPInstanceUID),
        str(meta.TransferSyntaxUID),
        content[dataset_offset(content) :],
    )
