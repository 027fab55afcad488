"""Audit entries as others read them: DICOM audit messages and FHIR AuditEvents."""

import base64
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import get_args
from uuid import UUID, uuid4

import pytest

from imex.audit.decide import append
from imex.audit_trail import GENESIS, Head
from imex.audit_trail.codes import CODINGS
from imex.audit_trail.dicom_message import dicom_message
from imex.audit_trail.entry import Entry, entry_of
from imex.audit_trail.fhir import audit_event
from imex.events.audit import Actor, AuditAction, AuditRecorded, AuditRecordedData

SHARE = UUID("430fb910-15d3-578e-86d2-c21a65ff799c")

REJECTED = AuditRecordedData(
    action="association_rejected",
    outcome="refused",
    actor=Actor(kind="unknown", id="NOBODY"),
    reason="calling AE title not recognised",
    details={"calling_ae": "NOBODY", "called_ae": "IMEX"},
    personal={"address": "10.1.2.3"},
)
VIEWED = AuditRecordedData(
    action="share_viewed",
    outcome="success",
    actor=Actor(kind="person", id="account-7", institution="RT3"),
    study_uid="1.2.3",
    source="RQM",
    recipient="RT3",
    share=SHARE,
    purpose="direct-care",
    legal_basis="UK GDPR 6(1)(e)",
    agreement="a1",
    personal={"user": "jane"},
)


def stored(data: AuditRecordedData) -> Entry:
    """An entry that went through the chain and back."""
    event = AuditRecorded.of(id=uuid4(), subject="s", time=datetime(2026, 3, 2, tzinfo=UTC), data=data)
    appended = append(event, Head(0, 0, GENESIS), lambda size: b"s" * size)
    return entry_of(appended.record, dict(data.personal))


def test_every_action_is_coded() -> None:
    assert set(CODINGS) == set(get_args(AuditAction))


def test_a_refused_association_is_exported_with_both_ae_titles_and_its_address() -> None:
    message = ET.fromstring(dicom_message(stored(REJECTED)))
    alternatives = [p.get("AlternativeUserID") for p in message.findall("ActiveParticipant")]
    assert alternatives == ["AETITLES=NOBODY", "AETITLES=IMEX"]
    assert message.find("ActiveParticipant[@NetworkAccessPointID='10.1.2.3']") is not None
    event = message.find("EventIdentification")
    assert event is not None
    assert event.get("EventOutcomeIndicator") == "4"
    assert event.findtext("EventOutcomeDescription") == "calling AE title not recognised"


def test_a_viewing_says_who_what_and_on_which_basis() -> None:
    message = ET.fromstring(dicom_message(stored(VIEWED)))
    participant = message.find("ActiveParticipant")
    assert participant is not None
    assert participant.get("UserID") == "jane"
    study, share = message.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert share.get("ParticipantObjectID") == str(SHARE)
    details = {
        detail.get("type"): base64.b64decode(detail.get("value", "")).decode()
        for detail in study.findall("ParticipantObjectDetail")
    }
    assert details["legal basis"] == "UK GDPR 6(1)(e)"
    assert details["agreement"] == "a1"


def test_an_erased_person_is_exported_by_account_only() -> None:
    erased = stored(VIEWED)
    erased.personal.clear()
    assert "jane" not in dicom_message(erased)
    assert "account-7" in dicom_message(erased)


def test_text_cannot_break_out_of_the_message() -> None:
    hostile = REJECTED.model_copy(update={"details": {"calling_ae": '"><X>'}, "reason": "<&\"'"})
    message = ET.fromstring(dicom_message(stored(hostile)))
    assert message.find(".//X") is None
    assert "\n" not in dicom_message(stored(hostile))


@pytest.mark.parametrize("data", [REJECTED, VIEWED])
def test_the_fhir_form_says_the_same(data: AuditRecordedData) -> None:
    resource = audit_event(stored(data))
    assert resource["resourceType"] == "AuditEvent"
    assert resource["outcome"] == ("4" if data is REJECTED else "0")
    if data is VIEWED:
        study, share = resource["entity"]
        assert study["what"]["identifier"]["value"] == "urn:oid:1.2.3"
        assert share["what"]["identifier"]["value"] == f"urn:uuid:{SHARE}"
        assert resource["agent"][0]["who"]["display"] == "jane"
    else:
        assert [agent["altId"] for agent in resource["agent"]] == ["AETITLES=NOBODY", "AETITLES=IMEX"]
