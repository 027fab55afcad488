"""The checks of one instance by itself: pure, each finding in words that name no patient."""

from collections.abc import Iterator, Sequence

from imex.dicom import is_nhs_issuer, nhs_number_valid, valid_uid
from imex.events import Identity
from imex.events.instances import InstanceReceivedData
from imex.events.validations import Finding

_MOST_NAMED = 6


def findings(data: InstanceReceivedData, identity: Identity) -> tuple[Finding, ...]:
    """Everything that is found; what it does is for `imex.validation.policy` to say."""
    return (*_structure(data), *_identifiers(data, identity), *_conformance(data))


def _structure(data: InstanceReceivedData) -> Iterator[Finding]:
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
    elif pixels.present and pixels.length is not None and pixels.expected is None:
        yield Finding(check="pixel-unchecked", message="the length of the pixel data could not be checked")


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


def _identifiers(data: InstanceReceivedData, identity: Identity) -> Iterator[Finding]:
    if is_nhs_issuer(identity.issuer) and identity.patient_id and not nhs_number_valid(identity.patient_id):
        yield Finding(check="nhs-number", message="the NHS number is not valid: its check digit is wrong")
    if identity.nhs_number and not nhs_number_valid(identity.nhs_number):
        yield Finding(
            check="nhs-number",
            message="the NHS number among the other patient IDs is not valid: its check digit is wrong",
        )
    if not identity.patient_id:
        yield Finding(check="patient-id", message="the Patient ID is empty")
    elif not identity.issuer:
        yield Finding(check="issuer", message="the Patient ID names no issuer; the sender's is assumed")
    if not identity.patient_name:
        yield Finding(check="patient-name", message="the Patient's Name is empty")
    if not data.modality:
        yield Finding(check="modality", message="the Modality is empty")


def _conformance(data: InstanceReceivedData) -> Iterator[Finding]:
    found = data.conformance
    if found.missing:
        yield Finding(
            check="type-1", message=f"without a value, which they must have: {_named(found.missing)}"
        )
    if found.absent:
        yield Finding(
            check="type-2", message=f"absent, though they may only be empty: {_named(found.absent)}"
        )
    if found.malformed:
        yield Finding(
            check="value-form", message=f"not as their value representation asks: {_named(found.malformed)}"
        )
    if found.odd:
        yield Finding(check="odd-length", message=f"of an odd length: {_named(found.odd)}")
    if found.oddities:
        yield Finding(check="encoding", message="; ".join(found.oddities))
    if data.burned_in.upper() == "YES":
        yield Finding(check="burned-in", message="Burned In Annotation is YES: the pixels may show who it is")


def _named(keywords: Sequence[str]) -> str:
    named = ", ".join(keywords[:_MOST_NAMED])
    more = len(keywords) - _MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named
