"""Rejection notes: what is written is what is read, by us and by DCMTK."""

import shutil
import subprocess
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from imex.dicom.rejection import TITLES, About, Reference, read_note, write_note

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"
ABOUT = About("1.2.3", "9434765919", "NHS", "MÜLLER^ANNA", "19700102", "ACC1", "20260301", "CT HEAD")
NOTE, SERIES = UUID(int=77), UUID(int=78)
uids = st.integers(1, 10**6).map(lambda number: f"1.2.3.{number}")
references = st.lists(
    st.builds(Reference, uids, st.sampled_from([CT, "1.2.840.10008.5.1.4.1.1.88.67"]), uids),
    min_size=1,
    max_size=20,
    unique_by=lambda one: one.sop_instance_uid,
)


@given(references, st.sampled_from(sorted(TITLES)))
def test_what_is_written_is_read(named: list[Reference], code: str) -> None:
    note = write_note(ABOUT, code, named, note=NOTE, series=SERIES, at=AT)  # type: ignore[arg-type]
    found = read_note(note.file())
    assert found is not None
    assert (found.code, found.study_uid, set(found.references)) == (code, "1.2.3", set(named))
    assert note == write_note(ABOUT, code, named, note=NOTE, series=SERIES, at=AT)  # type: ignore[arg-type]


def test_it_is_of_the_study_and_the_person() -> None:
    note = write_note(
        ABOUT, "113038", [Reference("1.2.3.1.1", CT, "1.2.3.1")], note=NOTE, series=SERIES, at=AT
    )
    found = dcmread(BytesIO(note.file()))
    assert (found.StudyInstanceUID, found.PatientID, found.IssuerOfPatientID) == (
        "1.2.3",
        "9434765919",
        "NHS",
    )
    assert str(found.PatientName) == "MÜLLER^ANNA"
    assert (found.SOPInstanceUID, found.Modality) == ("2.25.77", "KO")
    assert found.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.1.1"


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is not installed")
def test_dcmtk_reads_it_as_a_structured_report(tmp_path: Path) -> None:
    named = [Reference("1.2.3.1.1", CT, "1.2.3.1"), Reference("1.2.3.2.1", CT, "1.2.3.2")]
    file = tmp_path / "note.dcm"
    file.write_bytes(write_note(ABOUT, "113037", named, note=NOTE, series=SERIES, at=AT).file())
    out = subprocess.run(["dsrdump", str(file)], capture_output=True, text=True, check=True)
    assert "Rejected for Patient Safety Reasons" in out.stdout
    assert "E:" not in out.stderr


@pytest.mark.parametrize("file", [b"", b"\0" * 128 + b"DICM", b"x" * 1000])
def test_what_is_no_note_rejects_nothing(file: bytes) -> None:
    assert read_note(file) is None


def test_there_is_something_to_reject() -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        write_note(ABOUT, "113001", [], note=NOTE, series=SERIES, at=AT)
