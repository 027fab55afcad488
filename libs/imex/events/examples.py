"""One valid event of every type, the same at every rendering. All of it is synthetic."""

from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from imex.events.catalog import EVENT_CLASSES, EventClass
from imex.events.envelope import Event
from imex.events.ids import caused_id, derived, root_traceparent
from imex.events.shares import SharePayload

_TIME = datetime(2026, 3, 2, 9, 30, 0, tzinfo=UTC)
_STUDY = "1.2.826.0.1.3680043.10.1234.1"

_KNOWN: dict[str, Any] = {
    "source": "RQM",
    "recipient": "RT3",
    "institution": "RQM",
    "actor_institution": "RQM",
    "study_uid": _STUDY,
    "series_uid": f"{_STUDY}.1",
    "sop_instance_uid": f"{_STUDY}.1.1",
    "dataset_sop_instance_uid": f"{_STUDY}.1.1",
    "dataset_study_uid": _STUDY,
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
    "dataset_sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
    "transfer_syntax": "1.2.840.10008.1.2.1",
    "modality": "CT",
    "body_part": "HEAD",
    "object_key": "RQM/2026-03-02/019cae5c-4a40-7000-8000-000000000001",
    "size": 525_312,
    "bytes": 525_312,
    "digest": "sha256:" + "5d" * 32,
    "receipt_digest": "sha256:" + "7c" * 32,
    "version": "9f" * 32,
    "directory_version": "9f" * 32,
    "calling_ae": "RQM_PACS",
    "called_ae": "IMEX",
    "purpose": "direct-care",
    "legal_basis": "UK GDPR 6(1)(e), 9(2)(h)",
    "agreement": "a1",
    "endpoint": "pacs",
    "status": "0x0000",
    "key_id": "2026-03",
    "nonce": "AAAAAAAAAAAAAAAA",
    "ciphertext": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "actor": "rqm-sender",
    "by": "RT3",
    "applied_by": "admin",
    "reason": "connection refused",
    "message": "the Patient ID is empty",
    "check": "patient-id",
    "kind": "institution",
    "problem": None,
    "id": "RQM",
}

_STATES = {
    f"imex.share.{name}": state
    for name, state in (
        ("requested", "requested"),
        ("accepted", "accepted"),
        ("refused", "refused"),
        ("delivered", "delivered"),
        ("partially_delivered", "partial"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
        ("revoked", "revoked"),
        ("expired", "expired"),
        ("viewed", "delivered"),
    )
}


def example(cls: EventClass) -> Event[Any]:
    """The example of one event type."""
    data_model = cls.model_fields["data"].annotation
    assert isinstance(data_model, type)
    assert issubclass(data_model, BaseModel)
    data = _instance(data_model)
    if isinstance(data, SharePayload):
        data = data.model_copy(update={"state": _STATES.get(cls.type_name(), "delivering")})
    return cls.of(
        id=caused_id(derived("example"), cls.type_name(), _STUDY),
        subject=str(getattr(data, "share", None) or _STUDY),
        time=_TIME,
        traceparent=root_traceparent("RQM", _STUDY),
        data=data,
    )


def examples() -> dict[str, Event[Any]]:
    """All of them, by type."""
    return {name: example(cls) for name, cls in EVENT_CLASSES.items()}


def _instance(model: type[BaseModel]) -> Any:
    return model.model_validate({name: _value(name, field) for name, field in model.model_fields.items()})


def _value(name: str, field: FieldInfo) -> Any:
    if name in _KNOWN and not (
        isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    ):
        return _KNOWN[name]
    return _of_type(name, field.annotation)


_PLAIN: dict[Any, Any] = {int: 1, str: "text", bool: False, AwareDatetime: _TIME}


def _of_type(name: str, annotation: Any) -> Any:  # noqa: PLR0911  one line for each kind of type
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return arguments[0]
    if origin in (Union, UnionType):
        return _of_type(name, next(a for a in arguments if a is not NoneType))
    if origin is tuple:
        return (_of_type(name, arguments[0]),)
    if origin is dict:
        return {}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _instance(annotation)
    if annotation is UUID:
        return derived("example", name)
    return _PLAIN[annotation]
