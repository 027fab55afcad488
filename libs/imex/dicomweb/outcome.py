"""What became of a store transaction: part by part from ingest to the portal, and as PS3.18 answers it."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

STORED: Final = 0x0000
NOT_UNDERSTOOD: Final = 0xC000
OTHER_STUDY: Final = 0xA901
OUT_OF_RESOURCES: Final = 0xA700
NOT_AUTHORISED: Final = 0x0124
CLASS_NOT_SUPPORTED: Final = 0x0122
PROCESSING_FAILURE: Final = 0x0110
_BAD_REQUEST: Final = frozenset({NOT_UNDERSTOOD, OTHER_STUDY})
_OURS: Final = frozenset({OUT_OF_RESOURCES, PROCESSING_FAILURE})
RETRY_AFTER_S: Final = 15


class PartOutcome(BaseModel):
    """One part: `status` as C-STORE would answer it, `words` why where it was not stored."""

    model_config = ConfigDict(frozen=True)

    part: int
    status: int
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    words: str = ""

    @property
    def stored(self) -> bool:
        """Whether it is safe."""
        return self.status == STORED


class StowOutcome(BaseModel):
    """Every part of one request in its order."""

    model_config = ConfigDict(frozen=True)

    parts: tuple[PartOutcome, ...]

    @property
    def stored(self) -> tuple[PartOutcome, ...]:
        """The parts that are safe."""
        return tuple(part for part in self.parts if part.stored)

    @property
    def failed(self) -> tuple[PartOutcome, ...]:
        """The others."""
        return tuple(part for part in self.parts if not part.stored)

    @property
    def http_status(self) -> int:
        """The status of the answer (PS3.18 table 10.5.3-1).

        200 where all is safe, 202 where some is; where nothing is: 503 when it may be sent again as it is,
        400 when a part is at fault, 409 for what is not taken here.
        """
        failed = {part.status for part in self.failed}
        if not failed:
            return 200
        if self.stored:
            return 202
        if failed & _OURS:
            return 503
        return 400 if failed & _BAD_REQUEST else 409


Url = Callable[[PartOutcome], str]


def store_instances_response(outcome: StowOutcome, study_url: str, instance_url: Url) -> dict[str, Any]:
    """The store instances response module (PS3.18 I.2) in DICOM JSON. Words stand as Error Comment."""
    answer: dict[str, Any] = {}
    if study_url and outcome.stored:
        answer["00081190"] = {"vr": "UR", "Value": [study_url]}
    if outcome.failed:
        answer["00081198"] = _sequence([_failed(part) for part in outcome.failed])
    if outcome.stored:
        answer["00081199"] = _sequence(
            [
                {
                    "00081150": _uid(part.sop_class_uid),
                    "00081155": _uid(part.sop_instance_uid),
                    "00081190": {"vr": "UR", "Value": [instance_url(part)]},
                }
                for part in outcome.stored
            ]
        )
    return answer


def _failed(part: PartOutcome) -> dict[str, Any]:
    return {
        "00000902": {"vr": "LO", "Value": [f"part {part.part}: {part.words}"[:64]]},
        "00081150": _uid(part.sop_class_uid),
        "00081155": _uid(part.sop_instance_uid),
        "00081197": {"vr": "US", "Value": [part.status]},
    }


def _uid(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}


def _sequence(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}
