"""Pure: from a header and what surrounds it to the event, the sealed facts and the object's metadata."""

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from imex.dicom import Header, encoding_of, is_nhs_issuer
from imex.directory import Called, Recipient
from imex.events import Identity, Lane, Sealed
from imex.events.instances import ConformanceFacts, InstanceReceivedData, PixelFacts

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_UID_CHARS = 128
_TEXT_CHARS = 1024
_SHORT_CHARS = 64
AE_CHARS = 16
_MOST_INSTANCES = 2**31 - 1
_MOST_ODDITIES = 16
_SOUND = ConformanceFacts()


@dataclass(frozen=True, slots=True)
class Origin:
    """The association that an instance came in."""

    association: UUID
    source: str
    called: Called
    calling_ae: str
    called_ae: str
    retrieved: bool = False
    """Imex has fetched all of it itself (PS3.18 10.4)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One instance that is in the store: `size` in bytes and `digest` are of its encoded data set."""

    object_key: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    size: int
    digest: str
    received_at: datetime
    retrieved: bool = False
    """It answers what Imex asked for: nobody addressed it."""


def object_key(source: str, instance: UUID, at: datetime) -> str:
    """`<institution>/<yyyy-mm-dd>/<uuid7>`."""
    return f"{source}/{at:%Y-%m-%d}/{instance}"


def metadata(origin: Origin, stored: Stored) -> dict[str, str]:
    """What the object's own metadata says, so that its event can be rebuilt; no patient data.

    `digest` is left out while it is not known yet.
    """
    facts = {
        "source": origin.source,
        "calling-ae": origin.calling_ae,
        "called-ae": origin.called_ae,
        "association": str(origin.association),
        "sop-class": stored.sop_class_uid,
        "sop-instance": stored.sop_instance_uid,
        "transfer-syntax": stored.transfer_syntax,
        "received-at": stored.received_at.isoformat(),
        "digest": stored.digest,
        "retrieved": "yes" if stored.retrieved else "",
    }
    return {name: _NOT_PRINTABLE.sub("?", value).strip() for name, value in facts.items() if value}


def identity_of(header: Header) -> Identity:
    """The identifying facts, to be sealed; of bounded length and without control characters."""
    found = header.identity
    return Identity(
        patient_id=clean(found.patient_id),
        issuer=clean(found.issuer_of_patient_id or found.issuer_of_patient_id_oid),
        patient_name=clean(found.patient_name),
        birth_date=clean(found.birth_date),
        sex=clean(found.sex),
        accession=clean(found.accession_number),
        accession_issuer=clean(found.issuer_of_accession),
        study_date=clean(found.study_date),
        study_time=clean(found.study_time),
        study_description=clean(found.study_description),
        series_description=clean(found.series_description),
        referring_physician=clean(found.referring_physician),
        nhs_number=next(
            (clean(number) for issuer, number in found.other_patient_ids if is_nhs_issuer(issuer)), ""
        ),
    )


def received_data(
    header: Header,
    origin: Origin,
    stored: Stored,
    *,
    study_uid: str,
    lane: Lane,
    version: str,
    sealed: Sealed,
) -> InstanceReceivedData:
    """The data of `imex.instance.received`."""
    elements = header.elements
    encapsulated = encoding_of(stored.transfer_syntax).encapsulated
    return InstanceReceivedData(
        source=origin.source,
        study_uid=study_uid,
        series_uid=clean(elements.series_uid, _UID_CHARS),
        sop_instance_uid=clean(stored.sop_instance_uid, _UID_CHARS),
        sop_class_uid=clean(stored.sop_class_uid, _UID_CHARS),
        transfer_syntax=stored.transfer_syntax,
        modality=clean(elements.modality, _SHORT_CHARS),
        body_part=clean(elements.body_part, _SHORT_CHARS),
        object_key=stored.object_key,
        size=stored.size,
        digest=stored.digest,
        lane=lane,
        association=origin.association,
        received_at=stored.received_at,
        calling_ae=clean(origin.calling_ae, _SHORT_CHARS),
        called_ae=clean(origin.called_ae, _SHORT_CHARS),
        recipient=origin.called.code if isinstance(origin.called, Recipient) else None,
        directory_version=version,
        identity=sealed,
        dataset_sop_instance_uid=clean(elements.sop_instance_uid, _UID_CHARS),
        dataset_sop_class_uid=clean(elements.sop_class_uid, _UID_CHARS),
        dataset_study_uid=clean(elements.study_uid, _UID_CHARS),
        pixels=PixelFacts(
            present=header.pixel_bytes is not None,
            length=None if encapsulated else header.pixel_bytes,
            expected=header.pixel_bytes_expected,
        ),
        problem=header.problem,
        conformance=_conformance(header),
        burned_in=clean(elements.burned_in, _SHORT_CHARS),
        stated_instances=_count(elements.study_instances),
        referenced_studies=tuple(uid for uid in elements.referenced_studies if uid != elements.study_uid),
        retrieved=stored.retrieved,
    )


def _conformance(header: Header) -> ConformanceFacts:
    found = header.conformance
    if not (header.warnings or found.missing or found.absent or found.malformed or found.odd):
        return _SOUND
    return ConformanceFacts(
        missing=found.missing,
        absent=found.absent,
        malformed=found.malformed,
        odd=found.odd,
        oddities=header.warnings[:_MOST_ODDITIES],
    )


def _count(stated: int | None) -> int | None:
    """A count that can be true of a study."""
    return stated if stated is not None and 0 < stated <= _MOST_INSTANCES else None


def clean(text: str, most: int = _TEXT_CHARS) -> str:
    """Text that JSON, Kafka and PostgreSQL all keep as it is: control characters become U+FFFD."""
    return _CONTROL.sub("\ufffd", text[:most])
