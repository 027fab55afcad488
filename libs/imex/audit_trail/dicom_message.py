"""Entries as DICOM audit messages (PS3.15 A.5.1)."""

import base64
import xml.etree.ElementTree as ET

from imex.audit_trail.codes import CODINGS, OUTCOMES
from imex.audit_trail.entry import Entry

_STUDY_OBJECT = ("2", "3")  # a system object in the role of a report or study (A.5.1: type code, role)
_SHARE_OBJECT = ("2", "20")  # a system object in the role of a job
_STUDY_ID = ("110180", "DCM", "Study Instance UID")


def dicom_message(entry: Entry) -> str:
    """One `AuditMessage` element on one line."""
    message = ET.Element("AuditMessage")
    _identification(message, entry)
    _participants(message, entry)
    ET.SubElement(
        message,
        "AuditSourceIdentification",
        AuditSourceID=f"imex{entry.recorded_by.removeprefix('/imex').replace('/', '-')}",
        code="4",  # application server process (A.5.1)
    )
    _objects(message, entry)
    return ET.tostring(message, encoding="unicode")


def _identification(message: ET.Element, entry: Entry) -> None:
    coding = CODINGS[entry.data.action]
    event = ET.SubElement(
        message,
        "EventIdentification",
        EventActionCode=coding.effect,
        EventDateTime=entry.time.isoformat(),
        EventOutcomeIndicator=OUTCOMES[entry.data.outcome],
    )
    ET.SubElement(
        event, "EventID", {"csd-code": coding.code, "codeSystemName": "DCM", "originalText": coding.display}
    )
    ET.SubElement(
        event,
        "EventTypeCode",
        {
            "csd-code": entry.data.action,
            "codeSystemName": "Imex",
            "originalText": entry.data.action.replace("_", " "),
        },
    )
    if entry.data.reason:
        ET.SubElement(event, "EventOutcomeDescription").text = entry.data.reason


def _participants(message: ET.Element, entry: Entry) -> None:
    data = entry.data
    user = entry.personal.get("user") or data.actor.id or "unknown"
    attributes = {"UserID": user, "UserIsRequestor": "true"}
    if calling := data.details.get("calling_ae"):
        attributes["AlternativeUserID"] = f"AETITLES={calling}"
    if address := entry.personal.get("address"):
        attributes |= {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": "2"}
    source = ET.SubElement(message, "ActiveParticipant", attributes)
    _role(source, "110153", "Source Role ID")
    if called := data.details.get("called_ae"):
        destination = ET.SubElement(
            message,
            "ActiveParticipant",
            UserID=data.recipient or called,
            AlternativeUserID=f"AETITLES={called}",
            UserIsRequestor="false",
        )
        _role(destination, "110152", "Destination Role ID")
    elif data.recipient:
        destination = ET.SubElement(
            message, "ActiveParticipant", UserID=data.recipient, UserIsRequestor="false"
        )
        _role(destination, "110152", "Destination Role ID")


def _role(participant: ET.Element, code: str, display: str) -> None:
    ET.SubElement(
        participant,
        "RoleIDCode",
        {"csd-code": code, "codeSystemName": "DCM", "originalText": display},
    )


def _objects(message: ET.Element, entry: Entry) -> None:
    data = entry.data
    if data.study_uid:
        study = _object(message, data.study_uid, _STUDY_OBJECT, _STUDY_ID)
        for name, value in (
            ("purpose", data.purpose),
            ("legal basis", data.legal_basis),
            ("agreement", data.agreement),
            ("source", data.source),
            *((name.replace("_", " "), value) for name, value in sorted(data.details.items())),
            *((name, str(count)) for name, count in sorted(data.counts.items())),
        ):
            if value:
                # PS3.15 A.5.1: the value of a detail is base64
                ET.SubElement(
                    study,
                    "ParticipantObjectDetail",
                    type=name,
                    value=base64.b64encode(value.encode()).decode(),
                )
    if data.share:
        _object(message, str(data.share), _SHARE_OBJECT, ("share", "Imex", "Share"))


def _object(
    message: ET.Element, identifier: str, kind: tuple[str, str], id_type: tuple[str, str, str]
) -> ET.Element:
    found = ET.SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=identifier,
        ParticipantObjectTypeCode=kind[0],
        ParticipantObjectTypeCodeRole=kind[1],
    )
    code, system, display = id_type
    ET.SubElement(
        found,
        "ParticipantObjectIDTypeCode",
        {"csd-code": code, "codeSystemName": system, "originalText": display},
    )
    return found
