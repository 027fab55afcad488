"""The facts of the statement, out of the code that acts on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from inspect import signature
from typing import Any

import pynetdicom  # noqa: F401  it adds to the dictionary of pydicom, whoever imports it first
from pydantic_settings import BaseSettings
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from imex.conformance.answers import REJECTIONS, STORE_ANSWERS
from imex.delivery import decide as delivery
from imex.delivery.conversion import Converter
from imex.delivery.retrieving.archive import MOST_ANSWERS
from imex.delivery.retrieving.retriever import MOST_TRIES
from imex.delivery.settings import DeliverySettings
from imex.dicom import commitment, part10
from imex.dicom.rewriting import DEFLATED, EXPLICIT, IMPLICIT, rewritable_to
from imex.dimse import operations
from imex.dimse.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from imex.dimse.limits import Limits
from imex.dimse.pdu import APPLICATION_CONTEXT
from imex.dimse.sop_classes import VERIFICATION, is_storage
from imex.dimse.tls import CIPHERS
from imex.ingest.certificates import WARN_BEFORE
from imex.ingest.ports import Tuning
from imex.ingest.settings import DicomSettings, IngestSettings, LimitSettings, StorageSettings
from imex.portal.commitment.settings import CommitmentSettings
from imex.portal.dicomweb.matching import keys_of
from imex.portal.query_retrieve import find, get, identifiers, move, payloads
from imex.portal.query_retrieve.settings import DicomSettings as PullSettings


@dataclass(frozen=True, slots=True)
class Uid:
    """A UID of PS3.6 with its name."""

    uid: str
    name: str
    retired: bool


def storage_classes() -> Sequence[Uid]:
    """The storage SOP classes that PS3.6 names, in the order of their names."""
    return sorted(
        (Uid(uid, *entry) for uid, entry in _registered("SOP Class").items() if is_storage(uid)),
        key=lambda each: (each.retired, each.name.casefold()),
    )


def transfer_syntaxes() -> Sequence[Uid]:
    """The transfer syntaxes that PS3.6 names, in its order."""
    return [Uid(uid, *entry) for uid, entry in _registered("Transfer Syntax").items()]


def _registered(kind: str) -> Mapping[str, tuple[str, bool]]:
    return {
        uid: (name, bool(retired))
        for uid, (name, is_kind, _, retired, _) in UID_dictionary.items()
        if is_kind == kind
    }


def default(group: type[BaseSettings], field: str) -> Any:
    """What a setting is where nobody sets it."""
    return group.model_fields[field].default


def facts() -> dict[str, Any]:
    """Everything that the statement's text refers to."""
    limits = Limits()
    return {
        "product_version": version("imex"),
        "implementation_class_uid": IMPLEMENTATION_CLASS_UID,
        "implementation_version": IMPLEMENTATION_VERSION,
        "file_class_uid": part10.IMPLEMENTATION_CLASS_UID,
        "file_version": part10.IMPLEMENTATION_VERSION,
        "application_context": APPLICATION_CONTEXT,
        "verification": VERIFICATION,
        "limits": limits,
        "tuning": Tuning(),
        "dicom": {name: default(DicomSettings, name) for name in DicomSettings.model_fields},
        "ingest": {name: default(IngestSettings, name) for name in IngestSettings.model_fields},
        "shared": {name: default(LimitSettings, name) for name in LimitSettings.model_fields},
        "storage": {name: default(StorageSettings, name) for name in StorageSettings.model_fields},
        "delivery": {name: default(DeliverySettings, name) for name in DeliverySettings.model_fields},
        "lifetime_days": delivery.LIFETIME.days,
        "steps_s": delivery.FIRST_HOUR_STEPS_S,
        "longest_wait_min": int(delivery.LONGEST_WAIT.total_seconds() // 60),
        "later_percent": round(delivery.LATER_SHARE * 100),
        "jitter_percent": round(delivery.JITTER * 100),
        "max_repeats": delivery.MAX_REPEATS,
        "max_contexts": delivery.MAX_CONTEXTS,
        "rewritable": [
            (UID(stored).name, [UID(other).name for other in rewritable_to(stored)])
            for stored in (IMPLICIT, EXPLICIT, DEFLATED)
        ],
        "rewritten_mib": signature(Converter).parameters["most_bytes"].default >> 20,
        "store_answers": STORE_ANSWERS,
        "rejections": REJECTIONS,
        "storage_classes": storage_classes(),
        "transfer_syntaxes": transfer_syntaxes(),
        "query": _query(),
        "commitment": _commitment(),
        "retrieval": {
            "answers": MOST_ANSWERS,
            "tries": MOST_TRIES,
            "silent_s": default(DeliverySettings, "retrieval_silent_s"),
        },
        "ciphers": [name for name in CIPHERS.split(":") if not name.startswith("@")],
        "certificate_days": WARN_BEFORE.days,
    }


def _commitment() -> dict[str, Any]:
    """Of storage commitments for senders."""
    settings = {name: default(CommitmentSettings, name) for name in CommitmentSettings.model_fields}
    given = (
        commitment.FailureReason.NO_SUCH_OBJECT_INSTANCE,
        commitment.FailureReason.CLASS_INSTANCE_CONFLICT,
        commitment.FailureReason.PROCESSING_FAILURE,
    )
    return {
        "uid": commitment.PUSH_MODEL,
        "instance": commitment.PUSH_MODEL_INSTANCE,
        "instances": f"{settings['instances']:,}",
        "open_questions": settings["open_questions"],
        "same_association_s": f"{settings['same_association_s']:g}",
        "report_days": f"{settings['report_s'] / 86_400:g}",
        "deadline_h": f"{settings['deadline_s'] / 3600:g}",
        "reasons": [(f"{reason:04X}", reason.words) for reason in given],
    }


def _query() -> dict[str, Any]:
    """Of queries and retrievals."""
    return {
        "find_uid": find.STUDY_ROOT_FIND,
        "move_uid": move.STUDY_ROOT_MOVE,
        "get_uid": get.STUDY_ROOT_GET,
        "levels": [(level, keys_of(name)) for level, name in identifiers.LEVELS.items()],
        "studies": find.MOST_STUDIES,
        "series": find.MOST_SERIES,
        "images": find.MOST_IMAGES,
        "uids": identifiers.MOST_UIDS,
        "rewritten_mib": payloads.REWRITTEN_BYTES >> 20,
        "reopened": move.MOST_REOPENED,
        "identifier_kib": operations.MOST_BYTES >> 10,
        "ae_title": default(PullSettings, "ae_title"),
        "max_associations": default(PullSettings, "max_associations"),
        "institution_associations": default(PullSettings, "institution_associations"),
    }
