"""The checks of one instance by itself: pure, each finding in words that name no patient."""

from collections.abc import Iterator

from imex.dicom import is_nhs_issuer, nhs_number_valid, valid_uid
from imex.events import Identity
from imex.events.instances import InstanceReceivedData
from imex.events.validations import Finding


def holding_findings(data: InstanceReceivedData, identity: Identity) -> tuple[Finding, ...]:
    """Findings that keep an instance waiting for a person (INTERFACE: quarantine by default)."""
    return tuple(_holding(data, identity))


def warnings(data: InstanceReceivedData, identity: Identity) -> tuple[Finding, ...]:
    """Findings that people should see, and that hold nothing up."""
    return tuple(_warnings(data, identity))


def _holding(data: InstanceReceivedData, identity: Identity) -> Iterator[Finding]:
    if data.problem:
        yield Finding(check="readable", message=f"the data set cannot be read: {data.problem}")
    yield from _uid_findings(data)
    pixels = data.pixels
    if pixels.length is not None and pixels.expected is not None and pixels.length != pixels.expected:
        yield Finding(
            check="pixel-length",
            message=f"the pixel data has {pixels.length} bytes where rows, columns, samples, bits and "
            f"frames make {pixels.expected}",
        )
    if is_nhs_issuer(identity.issuer) and identity.patient_id and not nhs_number_valid(identity.patient_id):
        yield Finding(check="nhs-number", message="the NHS number is not valid: its check digit is wrong")


def _uid_findings(data: InstanceReceivedData) -> Iterator[Finding]:
    stated = (
        ("SOP Instance UID", data.dataset_sop_instance_uid),
        ("Study Instance UID", data.dataset_study_uid),
        ("Series Instance UID", data.series_uid),
        ("SOP Class UID", data.dataset_sop_class_uid),
    )
    for name, uid in stated:
        if not uid:
            yield Finding(check="uid", message=f"the {name} is missing")
        elif not valid_uid(uid):
            yield Finding(check="uid", message=f"the {name} is malformed")
    if not valid_uid(data.sop_instance_uid):
        yield Finding(check="uid", message="the SOP Instance UID that it was sent under is malformed")
    elif data.dataset_sop_instance_uid and data.dataset_sop_instance_uid != data.sop_instance_uid:
        yield Finding(
            check="uid", message="the SOP Instance UID in the data set is not the one it was sent under"
        )
    if data.dataset_sop_class_uid and data.dataset_sop_class_uid != data.sop_class_uid:
        yield Finding(
            check="uid", message="the SOP Class UID in the data set is not the one it was sent under"
        )


def _warnings(data: InstanceReceivedData, identity: Identity) -> Iterator[Finding]:
    if not identity.patient_id:
        yield Finding(check="patient-id", message="the Patient ID is empty")
    elif not identity.issuer:
        yield Finding(check="issuer", message="the Patient ID names no issuer; the sender's is assumed")
    if not identity.patient_name:
        yield Finding(check="patient-name", message="the Patient's Name is empty")
    if not data.modality:
        yield Finding(check="modality", message="the Modality is empty")
    if data.pixels.present and data.pixels.length is not None and data.pixels.expected is None:
        yield Finding(check="pixel-length", message="the length of the pixel data could not be checked")
