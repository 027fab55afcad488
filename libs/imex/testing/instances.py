"""Events of synthetic instances, as ingest would publish them, for tests of what comes after."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from imex.events import Event, Identity
from imex.events.ids import root_traceparent
from imex.events.instances import (
    AssociationEnded,
    AssociationEndedData,
    InstanceReceived,
    InstanceReceivedData,
)
from imex.runtime import Message, RawRecord
from imex.sealing import Sealer

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"

SEALER = Sealer({"test": b"\x07" * 32}, "test")

JANE = Identity(
    patient_id="9990000018",
    issuer="NHS",
    patient_name="DOE^JANE",
    birth_date="19700101",
    sex="F",
    accession="ACC1",
    study_description="CT HEAD",
)


def received(
    study: str = "1.2.3",
    number: int = 1,
    identity: Identity = JANE,
    association: UUID | None = None,
    **changes: Any,
) -> InstanceReceived:
    """Instance `number` of a study of RQM, sent to the standing rules unless `changes` say otherwise."""
    event_id = uuid4()
    key = changes.pop("object_key", f"RQM/2026-03-02/{event_id}")
    uid = f"{study}.1.{number}"
    facts: dict[str, Any] = {
        "source": "RQM",
        "study_uid": study,
        "series_uid": f"{study}.1",
        "sop_instance_uid": uid,
        "sop_class_uid": CT,
        "transfer_syntax": EXPLICIT_LITTLE,
        "modality": "CT",
        "object_key": key,
        "size": 1000 + number,
        "digest": f"sha256:{number:064x}",
        "lane": "bulk",
        "association": association or UUID(int=1),
        "received_at": datetime.now(UTC),
        "calling_ae": "RQM_PACS",
        "called_ae": "IMEX",
        "directory_version": "v1",
        "dataset_sop_instance_uid": uid,
        "dataset_sop_class_uid": CT,
        "dataset_study_uid": study,
    }
    data = InstanceReceivedData.model_validate(
        {**facts, "identity": SEALER.seal(identity, key.encode()), **changes}
    )
    return InstanceReceived.of(
        id=event_id,
        subject=uid,
        data=data,
        time=data.received_at,
        traceparent=root_traceparent(data.source, data.study_uid),
    )


def ended(study: str = "1.2.3", association: UUID | None = None, count: int = 1) -> AssociationEnded:
    """The end of an association that brought `count` instances of a study."""
    now = datetime.now(UTC)
    return AssociationEnded.of(
        id=uuid4(),
        subject=study,
        traceparent=root_traceparent("RQM", study),
        data=AssociationEndedData(
            source="RQM",
            study_uid=study,
            association=association or UUID(int=1),
            lane="bulk",
            calling_ae="RQM_PACS",
            called_ae="IMEX",
            outcome="released",
            received=count,
            refused=0,
            started_at=now,
        ),
    )


def messages(events: list[Event[Any]], topic: str, partition: int = 0) -> list[Message]:
    """Events as the runtime hands them to a handler."""
    return [
        Message(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=event.time,
            key=event.key,
            event=event,
            traceparent=event.traceparent,
            raw=RawRecord(topic, partition, offset, 0, event.key.encode(), event.encode()),
        )
        for offset, event in enumerate(events)
    ]
