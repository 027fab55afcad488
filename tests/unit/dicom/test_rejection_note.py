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

from imex.deidentification.keys import ProjectKey
from imex.delivery.changing.deidentified import make_head
from imex.dicom import file_meta
from imex.dicom.rejection import (
    EXPLICIT,
    KEY_OBJECT_SELECTION,
    TITLES,
    About,
    Reference,
    read_note,
    write_note,
)
from imex.dicom.syntax import encoding_of
from imex.directory.policies import Deidentification

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


@given(st.builds(About, st.just("1.2.3"), *[st.text(max_size=80)] * 7))
def test_whatever_a_sender_has_written_a_note_can_be_written(about: About) -> None:
    named = [Reference("1.2.3.1.1", CT, "1.2.3.1")]
    found = read_note(write_note(about, "113037", named, note=NOTE, series=SERIES, at=AT).file())
    assert found is not None
    assert found.references == tuple(named)


def test_de_identified_it_names_what_the_recipient_was_given() -> None:
    named = [Reference("1.2.3.1.1", CT, "1.2.3.1"), Reference("1.2.3.2.1", CT, "1.2.3.2")]
    note = write_note(ABOUT, "113037", named, note=NOTE, series=SERIES, at=AT)
    key = ProjectKey(b"k" * 32, "p")
    asked = Deidentification(project="p")
    made = make_head(note.dataset, encoding_of(EXPLICIT), asked, key, "RQM", pixels=False)
    assert not made.held
    found = read_note(file_meta(KEY_OBJECT_SELECTION, made.sop_instance_uid, EXPLICIT) + made.head)
    assert found is not None
    assert (found.code, found.study_uid) == ("113037", key.uid("1.2.3"))
    assert [one.sop_instance_uid for one in found.references] == [key.uid(n.sop_instance_uid) for n in named]
    content = dcmread(BytesIO(file_meta(KEY_OBJECT_SELECTION, "1.2", EXPLICIT) + made.head)).ContentSequence
    listed = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in content]
    assert listed == [key.uid(one.sop_instance_uid) for one in named]
    assert b"9434765919" not in made.head
    assert b"1.2.3.1.1" not in made.head


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
