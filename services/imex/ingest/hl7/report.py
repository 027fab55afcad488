"""Pure: what an ORU^R01 says that can be attached to a study, or why it cannot (IHE RAD TF-2 4.28)."""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from imex.dicom import valid_uid
from imex.hl7.answer import Verdict
from imex.hl7.message import Message, Segment

MOST_TEXT_CHARS: Final = 1_000_000
MOST_DOCUMENTS: Final = 20
_PDF: Final = b"%PDF-"
_DATE: Final = re.compile(r"[0-9]{8}", re.ASCII)
_TIME: Final = re.compile(r"[0-9]{14}", re.ASCII)
_STUDY_UID: Final = "113014"
"""DCM code of an OBX that names the study (IHE RAD)."""
_TEXTS: Final = frozenset({"TX", "FT", "ST", "CE", "CWE", "NM"})
_STATES: Final = {"P": "preliminary", "R": "preliminary", "A": "preliminary", "F": "final", "C": "corrected"}
"""Table 0123 (OBR-25), as far as there is something to read."""
_MOST_IDENTIFIER: Final = 64
_MOST_ACCESSION: Final = 16
_NOT_IN_NAMES: Final = re.compile(r"[\\^=\x00-\x1f\x7f]")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SEXES: Final = frozenset("MFO")


class Unfit(Exception):
    """The message is not taken, and why: words without patient data, and where the fault is."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.words)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report's text. `kind`: finding | conclusion | recommendation."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Patient:
    """Whose report it is, in DICOM's words: patient data."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str
    others: tuple[tuple[str, str], ...] = ()
    """Further identifiers and their issuers."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is attached."""

    control_id: str
    study_uid: str
    accession: str
    patient: Patient
    at: str
    """When it was reported: YYYYMMDDHHMMSS, as its sender writes it."""
    title: str
    state: str
    """preliminary | final | corrected."""
    sections: tuple[Section, ...]
    documents: tuple[bytes, ...]
    """PDFs."""


def read_report(message: Message) -> Report:
    """What an ORU^R01 says. Raises Unfit."""
    if message.kind != ("ORU", "R01"):
        raise _refused("200", "only ORU^R01 is taken", "MSH^1^9")
    if message.header.text(11).upper() not in {"", "P"}:
        raise _refused("202", "only production messages (P) are taken", "MSH^1^11")
    if not message.control_id:
        raise _wrong("101", "it has no message control id", "MSH^1^10")
    observations = message.of("OBX")
    requests = message.of("OBR")
    state = _state(requests)
    sections = tuple(_sections(observations))
    documents = tuple(_documents(observations))
    if not sections and not documents:
        raise _wrong("101", "it has neither text (TX, FT, ST, CE, CWE, NM) nor a PDF (ED)", "OBX^1^5")
    return Report(
        control_id=message.control_id,
        study_uid=_study_uid(message, observations),
        accession=_accession(message, requests),
        patient=_patient(message.of("PID")),
        at=_when(message, requests),
        title=next((text for one in requests if (text := one.text(4, 2) or one.text(4))), "Report"),
        state=state,
        sections=sections,
        documents=documents,
    )


def _state(requests: Sequence[Segment]) -> str:
    if not requests:
        raise _wrong("101", "it has no OBR segment", "OBR")
    found = {one.text(25).upper() or "F" for one in requests}
    if found - _STATES.keys():
        words = "a result of this status is nothing to attach (taken: P, R, A, F, C); recall the report"
        raise _wrong("102", words, "OBR^1^25")
    # with several, the least certain
    return next(_STATES[one] for one in _STATES if one in found)


def _study_uid(message: Message, observations: Sequence[Segment]) -> str:
    named = {one.text(1) for one in message.of("ZDS")}
    named |= {one.text(3) for one in message.of("IPC")}
    named |= {one.text(5) for one in observations if one.text(3) == _STUDY_UID}
    named.discard("")
    if not named:
        words = "it names no Study Instance UID (ZDS-1, IPC-3 or an OBX 113014): an accession number alone is"
        raise _wrong("101", f"{words} not enough", "ZDS^1^1")
    if len(named) > 1:
        raise _wrong("102", "it names several studies: send a message for each", "ZDS^1^1")
    [uid] = named
    if not valid_uid(uid):
        raise _wrong("102", "its Study Instance UID is none", "ZDS^1^1")
    return uid


def _accession(message: Message, requests: Sequence[Segment]) -> str:
    """IPC-1 (v2.5.1), else OBR-18 as placer field 1 (IHE RAD v2.3.1), else the filler's order, OBR-3."""
    found = [one.text(1) for one in message.of("IPC")]
    found += [one.text(18) for one in requests] + [one.text(3) for one in requests]
    accession = next((one for one in found if one), "")
    if len(accession) > _MOST_ACCESSION or "\\" in accession:
        raise _wrong("102", f"its accession number is longer than {_MOST_ACCESSION} characters", "OBR^1^18")
    if _CONTROLS.search(accession):
        raise _wrong("102", "its accession number has control characters", "OBR^1^18")
    return accession


def _patient(segments: Sequence[Segment]) -> Patient:
    if not segments:
        raise _wrong("101", "it has no PID segment", "PID")
    pid = segments[0]
    known: list[tuple[str, str]] = []
    for one in pid.repetitions(3):
        number = one[0][0].strip()
        issuer = one[3][0].strip() if len(one) > 3 else ""
        if not number:
            continue
        if max(len(number), len(issuer)) > _MOST_IDENTIFIER or "\\" in number + issuer:
            raise _wrong("102", "a patient identifier is longer than 64 characters", "PID^1^3")
        if _CONTROLS.search(number + issuer):
            raise _wrong("102", "a patient identifier has control characters", "PID^1^3")
        known.append((number, issuer))
    if not known:
        raise _wrong("101", "it names no patient", "PID^1^3")
    birth, sex = pid.text(7)[:8], pid.text(8).upper()
    return Patient(
        patient_id=known[0][0],
        issuer=known[0][1],
        name=_name(pid),
        birth_date=birth if _DATE.fullmatch(birth) else "",
        sex=sex if sex in _SEXES else "",
        others=tuple(dict.fromkeys(known[1:])),
    )


def _name(pid: Segment) -> str:
    """DICOM has prefix and suffix the other way round."""
    family, given, middle, suffix, prefix = (pid.text(5, number) for number in range(1, 6))
    plain = (_NOT_IN_NAMES.sub(" ", one).strip() for one in (family, given, middle, prefix, suffix))
    return "^".join(plain).rstrip("^")


def _when(message: Message, requests: Sequence[Segment]) -> str:
    stated = [one.text(22) for one in requests] + [one.text(7) for one in requests]
    for one in (*stated, message.header.text(7)):
        digits = re.split(r"[.+-]", one)[0].ljust(14, "0")[:14]
        if _TIME.fullmatch(digits) and _is_moment(digits):
            return digits
    raise _wrong("101", "it says nowhere when it was made", "MSH^1^7")


def _is_moment(digits: str) -> bool:
    month, day, hour = int(digits[4:6]), int(digits[6:8]), int(digits[8:10])
    minute, second = int(digits[10:12]), int(digits[12:14])
    within = 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60
    return within and digits[:4] != "0000"


def _sections(observations: Iterable[Segment]) -> list[Section]:
    """Its text; lines that follow one another under one heading are one section."""
    found: list[Section] = []
    length = 0
    for one in observations:
        kind = one.text(2).upper()
        if kind not in _TEXTS or one.text(3) == _STUDY_UID:
            continue
        length += one.length(5)
        if length > MOST_TEXT_CHARS:
            raise _wrong("102", f"its text is longer than {MOST_TEXT_CHARS} characters", "OBX^1^5")
        text = _text(one, kind)
        about = _KINDS.get(one.text(3, 1, 2).upper(), "finding")
        if not text:
            continue
        if found and found[-1].kind == about:
            found[-1] = Section(about, f"{found[-1].text}\n{text}")
        else:
            found.append(Section(about, text))
    return found


_KINDS: Final = {"IMP": "conclusion", "REC": "recommendation"}
"""Suffixes of an observation's identifier (HL7 v2.5 7.2.4, table 0396 in use)."""


def _text(one: Segment, kind: str) -> str:
    if kind in {"CE", "CWE"}:
        said = one.text(5, 2) or one.text(5)
    elif kind == "NM":
        label, unit = one.text(3, 2), one.text(6)
        said = " ".join(part for part in (f"{label}:" if label else "", one.text(5), unit) if part)
    else:
        # a separator that its sender has not escaped is text to everybody who reads it
        said = "\n".join(
            "^".join("&".join(component) for component in repetition) for repetition in one.repetitions(5)
        )
    lines = said.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", " ", lines).strip()


def _documents(observations: Iterable[Segment]) -> Iterable[bytes]:
    number = 0
    for one in observations:
        kind = one.text(2).upper()
        if kind == "RP":
            raise _wrong("102", "a document is only pointed at: send it in the message", "OBX^1^5")
        if kind != "ED":
            continue
        number += 1
        if number > MOST_DOCUMENTS:
            raise _wrong("102", f"it has more than {MOST_DOCUMENTS} documents", "OBX^1^5")
        yield _document(one.raw(5, 4).strip().upper(), one.raw(5, 5))


def _document(encoding: str, written: str) -> bytes:
    try:
        match encoding:
            case "BASE64":
                # lines may have been broken, by the escape sequence or by blanks
                plain = re.sub(r"\\\.br\\|\s", "", written)
                document = base64.b64decode(plain, validate=True)
            case "HEX":
                document = bytes.fromhex(written)
            case _:
                raise _wrong("102", "a document is neither Base64 nor Hex", "OBX^1^5")
    except (binascii.Error, ValueError):
        raise _wrong("102", "a document cannot be decoded", "OBX^1^5") from None
    if not document.startswith(_PDF):
        raise _wrong("102", "a document is no PDF", "OBX^1^5")
    return document


def _wrong(error: str, words: str, at: str) -> Unfit:
    return Unfit(Verdict("AE", words, error, at))


def _refused(error: str, words: str, at: str) -> Unfit:
    return Unfit(Verdict("AR", words, error, at))
