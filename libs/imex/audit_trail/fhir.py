"""Entries as FHIR R4 AuditEvents, in the shape of IHE's Basic Audit Log Patterns (BALP)."""

from typing import Any

from imex.audit_trail.codes import CODINGS, OUTCOMES
from imex.audit_trail.entry import Entry

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_ACTIONS = "https://schemas.imex.example/audit-action"


def audit_event(entry: Entry) -> dict[str, Any]:
    """One AuditEvent resource."""
    data, coding = entry.data, CODINGS[entry.data.action]
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": entry.id,
        "type": {"system": _DCM, "code": coding.code, "display": coding.display},
        "subtype": [{"system": _ACTIONS, "code": data.action}],
        "action": coding.effect,
        "recorded": entry.time.isoformat(),
        "outcome": OUTCOMES[data.outcome],
        "agent": _agents(entry),
        "source": {
            "observer": {"display": entry.recorded_by},
            "type": [{"system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4"}],
        },
    }
    if data.reason:
        resource["outcomeDesc"] = data.reason
    if data.purpose:
        resource["purposeOfEvent"] = [{"text": data.purpose}]
    if entities := _entities(entry):
        resource["entity"] = entities
    return resource


def _agents(entry: Entry) -> list[dict[str, Any]]:
    data = entry.data
    who: dict[str, Any] = {"identifier": {"value": data.actor.id}}
    if user := entry.personal.get("user"):
        who["display"] = user
    actor: dict[str, Any] = {"type": _role("110153", "Source Role ID"), "who": who, "requestor": True}
    if calling := data.details.get("calling_ae"):
        actor["altId"] = f"AETITLES={calling}"
    if address := entry.personal.get("address"):
        actor["network"] = {"address": address, "type": "2"}
    agents = [actor]
    called = data.details.get("called_ae")
    if data.recipient or called:
        destination: dict[str, Any] = {
            "type": _role("110152", "Destination Role ID"),
            "who": {"identifier": {"value": data.recipient or called}},
            "requestor": False,
        }
        if called:
            destination["altId"] = f"AETITLES={called}"
        agents.append(destination)
    return agents


def _role(code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": _DCM, "code": code, "display": display}]}


def _entities(entry: Entry) -> list[dict[str, Any]]:
    data = entry.data
    entities: list[dict[str, Any]] = []
    if data.study_uid:
        details = {
            "source": data.source,
            "legal-basis": data.legal_basis,
            "agreement": data.agreement,
            **data.details,
            **{name: str(count) for name, count in data.counts.items()},
        }
        entities.append(
            {
                "what": {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{data.study_uid}"}},
                "role": {"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "3"},
                "detail": [
                    {"type": name, "valueString": value} for name, value in sorted(details.items()) if value
                ],
            }
        )
    if data.share:
        entities.append(
            {
                "what": {"identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{data.share}"}},
                "role": {"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "20"},
            }
        )
    return entities
