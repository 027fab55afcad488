"""What an ORU says, as DICOM; what cannot be attached is told why."""

import base64
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from imex.hl7.answer import acknowledgement
from imex.hl7.message import Message, MessageUnreadable, read
from imex.ingest.hl7.objects import BASIC_TEXT_SR, ENCAPSULATED_PDF, EXPLICIT, Sent, instances_of
from imex.ingest.hl7.report import Unfit, read_report

PDF = b"%PDF-1.4 synthetic\n%%EOF\n"
SENT = Sent("RT3", "RIS", "RT3")
STUDY = "1.2.826.0.1.3680043.8.498.77"


def oru(*, replaced: dict[str, str] | None = None, more: tuple[str, ...] = (), without: str = "") -> bytes:
    """An ORU^R01 with text and a PDF; segments replaced by their first characters, added, left out."""
    segments = [
        "MSH|^~\\&|RIS|RT3|IMEX||20260402101500||ORU^R01^ORU_R01|MSG0001|P|2.5.1||||||UNICODE UTF-8",
        "PID|1||MRN77^^^RT3~9434765919^^^NHS^NH||OKONKWO^CHIDI^A^JR^DR||19710403|M",
        "OBR|1|PLC1|FIL1|RAD^CT head^L|||20260401090000|||||||||||ACC77||||20260402101000|||F",
        "OBX|1|TX|59776-5&GDT^Findings^LN||No bleed \\T\\ no shift.\\.br\\Ventricles normal.||||||F",
        "OBX|2|TX|59776-5&GDT^Findings^LN||Sinuses clear.||||||F",
        "OBX|3|FT|19005-8&IMP^Impression^LN||Normal.||||||F",
        f"OBX|4|ED|PDF^Report^L||^APPLICATION^PDF^Base64^{base64.b64encode(PDF).decode()}||||||F",
        f"ZDS|{STUDY}^RT3^Application^DICOM",
    ]
    for start, other in (replaced or {}).items():
        [at] = [n for n, one in enumerate(segments) if one.startswith(start)]
        segments[at] = other
    kept = [one for one in segments if not without or not one.startswith(without)]
    return "".join(f"{one}\r" for one in (*kept, *more)).encode()


def datasets(data: bytes) -> list[Dataset]:
    found: list[Dataset] = []
    for one in instances_of(read_report(read(data)), SENT):
        dataset = dcmread(io.BytesIO(one.data), force=True)
        assert dataset.SOPInstanceUID == one.sop_instance_uid
        found.append(dataset)
    return found


def test_text_becomes_a_structured_report_and_a_pdf_an_encapsulated_one() -> None:
    text, document = datasets(oru())
    assert (text.SOPClassUID, document.SOPClassUID) == (BASIC_TEXT_SR, ENCAPSULATED_PDF)
    for one in (text, document):
        assert (one.StudyInstanceUID, one.AccessionNumber) == (STUDY, "ACC77")
        assert (one.PatientID, one.IssuerOfPatientID, one.PatientSex) == ("MRN77", "RT3", "M")
        assert str(one.PatientName) == "OKONKWO^CHIDI^A^DR^JR"
        assert one.PatientBirthDate == "19710403"
        assert (one.ContentDate, one.ContentTime) == ("20260402", "101000")
        [other] = one.OtherPatientIDsSequence
        assert (other.PatientID, other.IssuerOfPatientID) == ("9434765919", "NHS")
        assert one.SeriesDescription == "CT head"
    said = [(item.ConceptNameCodeSequence[0].CodeMeaning, item.TextValue) for item in text.ContentSequence]
    assert said == [
        ("Finding", "No bleed & no shift.\nVentricles normal.\nSinuses clear."),
        ("Conclusion", "Normal."),
    ]
    assert (text.CompletionFlag, text.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == PDF
    assert len(document.EncapsulatedDocument) % 2 == 0


def test_a_repeat_is_the_same_bytes_and_another_message_is_not() -> None:
    first, again = (instances_of(read_report(read(oru())), SENT) for _ in range(2))
    assert first == again
    others = [
        oru().replace(b"MSG0001", b"MSG0002"),
        oru(replaced={"OBX|3": "OBX|3|FT|19005-8&IMP^Impression^LN||Large bleed, call.||||||F"}),
        oru().replace(base64.b64encode(PDF), base64.b64encode(PDF + b"2")),
    ]
    uids = [
        {one.sop_instance_uid for one in instances_of(read_report(read(other)), SENT)}
        for other in (oru(), *others)
    ]
    assert len(set.union(*uids)) == 8, "a control id is unique for a while only"


def test_a_message_of_separators_is_not_parsed() -> None:
    with pytest.raises(MessageUnreadable, match="more than 100000 fields and components"):
        read(oru(more=("OBX|" + "^&" * 50_000,)))


def test_a_preliminary_report_says_so() -> None:
    [text, _] = datasets(oru().replace(b"|||F\rOBX|1", b"|||P\rOBX|1"))
    assert (text.CompletionFlag, text.PreliminaryFlag) == ("PARTIAL", "PRELIMINARY")


@pytest.mark.parametrize(
    ("more", "accession"),
    [((f"IPC|ACC99|RP1|{STUDY}|SPS1",), "ACC99"), (("NTE|1||x",), "FIL1")],
)
def test_where_the_study_and_the_accession_number_are_read(more: tuple[str, ...], accession: str) -> None:
    named = oru(
        replaced={"OBR": "OBR|1|PLC1|FIL1|RAD^CT head^L"},
        more=(*more, f"OBX|9|HD|113014^Study Instance UID^DCM||{STUDY}||||||F"),
        without="ZDS",
    )
    report = read_report(read(named))
    assert (report.study_uid, report.accession) == (STUDY, accession)
    assert "113014" not in str(report.sections)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"without": "ZDS"}, "AE", "accession number alone is not enough"),
        ({"more": ("ZDS|1.2.3^X",)}, "AE", "several studies"),
        ({"replaced": {"ZDS": "ZDS|not a uid"}}, "AE", "is none"),
        ({"replaced": {"PID": "PID|1||^^^RT3"}}, "AE", "names no patient"),
        ({"replaced": {"PID": f"PID|1||{'9' * 65}^^^RT3"}}, "AE", "longer than 64"),
        ({"replaced": {"PID": "PID|1||MRN\\X0A\\77^^^RT3"}}, "AE", "has control characters"),
        ({"replaced": {"PID": "PID|1||1^^^RT3~MRN77^^^R\\X00\\"}}, "AE", "has control characters"),
        ({"more": (f"IPC|A\\X0D\\CC|RP1|{STUDY}|SPS1",)}, "AE", "has control characters"),
        ({"without": "OBX"}, "AE", "neither text"),
        ({"without": "OBR"}, "AE", "no OBR"),
        ({"replaced": {"OBR": "OBR|1|P|F|RAD^CT" + "|" * 21 + "X"}}, "AE", "nothing to attach"),
        ({"replaced": {"OBX|4": "OBX|4|ED|PDF||^AP^PDF^Base64^JVBER*"}}, "AE", "cannot be decoded"),
        ({"replaced": {"OBX|4": "OBX|4|ED|PDF||^AP^JPEG^Base64^AAAA"}}, "AE", "no PDF"),
        ({"replaced": {"OBX|4": "OBX|4|RP|PDF||http://host/report.pdf"}}, "AE", "only pointed at"),
        ({"replaced": {"MSH": "MSH|^~\\&|RIS|RT3|||20260402||ADT^A08|1|P|2.5"}}, "AR", "only ORU^R01"),
        ({"replaced": {"MSH": "MSH|^~\\&|RIS|RT3|||20260402||ORU^R01|1|T|2.5"}}, "AR", "only production"),
    ],
)
def test_what_cannot_be_attached_is_told_why(changes: Any, code: str, words: str) -> None:
    with pytest.raises(Unfit) as refused:
        read_report(read(oru(**changes)))
    verdict = refused.value.verdict
    assert verdict.code == code
    assert words in verdict.words
    assert not any(said in verdict.words for said in ("OKONKWO", "MRN77", "9434765919"))


@given(st.binary(max_size=400))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        message = read(data)
    except MessageUnreadable:
        return
    _taken_or_refused(message)


_ALPHABET = st.sampled_from(
    [*"|^~\\&\r", "OBX", "PID", "ZDS", "ED", "TX", "1.2", "\\H\\", "\\X0D\\", "é", "A"]
)


@given(st.lists(_ALPHABET, max_size=60), st.integers(0, 900))
def test_whatever_a_message_holds_is_taken_or_refused(pieces: list[str], at: int) -> None:
    whole = oru().decode()
    data = (whole[: at % len(whole)] + "".join(pieces) + whole[at % len(whole) :]).encode()
    try:
        message = read(data)
    except MessageUnreadable:
        return
    _taken_or_refused(message)


def _taken_or_refused(message: Message) -> None:
    from datetime import UTC, datetime

    try:
        for one in instances_of(read_report(message), SENT):
            assert one.data
        verdict = None
    except Unfit as unfit:
        verdict = unfit.verdict
    if verdict is not None:
        answer = acknowledgement(message, verdict, datetime(2026, 4, 2, tzinfo=UTC), "IMEX")
        again = read(answer)
        assert again.of("MSA")[0].text(1)[1:] == verdict.code[1:]
        assert b"\x0b" not in answer and b"\x1c" not in answer


def test_text_that_comes_back_is_what_was_sent() -> None:
    written = oru(
        replaced={"OBX|3": "OBX|3|FT|19005-8&IMP^Impression^LN||Ø 5 mm \\S\\ 2; see \\F\\ above||||||F"}
    )
    [text, _] = datasets(written)
    assert text.ContentSequence[1].TextValue == "Ø 5 mm ^ 2; see | above"
    assert EXPLICIT == "1.2.840.10008.1.2.1"
