"""HL7 messages that tell a recipient's systems of a corrected or merged person."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from imex.dicom import file_meta
from imex.dicom.rejection import EXPLICIT, uid_of
from imex.events.sealed import Sealed, seal_context
from imex.hl7.adt import MESSAGE_CLASS, CannotWrite, Change, PersonFacts, write_adt
from imex.sharing.model import Study

OpenFacts = Callable[[Sealed, bytes], Mapping[str, Any]]
"""Opens what is sealed of a correction: what was `wrong`, and what is `right`."""

SYNTAX: Final = EXPLICIT
"""What the manifest names; a message has none."""


@dataclass(frozen=True, slots=True)
class Written:
    """A message as an instance to deliver: patient data."""

    uid: str
    file: bytes
    """With a head like a payload's, which is not sent."""
    size: int
    digest: str


def write(  # noqa: PLR0917  what is said, of whom, and under which name
    correction: UUID,
    kind: Change,
    personal: Mapping[str, Any] | None,
    study: Study,
    name: UUID,
    at: datetime,
    open_facts: OpenFacts,
) -> Written:
    """The message of a correction. What it does not say of the wrong record is what the study says.

    Raises:
        CannotWrite: it does not say enough, or what it said is erased.
    """
    if personal is None:
        raise CannotWrite("what it says is erased")
    said = open_facts(Sealed.model_validate(personal), seal_context("correction", correction))
    known = PersonFacts(study.patient_id, study.issuer, study.patient_name, study.birth_date)
    wrong = _facts(said.get("wrong", {})).over(known)
    right = _facts(said.get("right", {}))
    own = study.patient_id, study.issuer
    if own not in {(wrong.patient_id, wrong.issuer), (right.patient_id, right.issuer)}:
        # a source speaks of its study's person: systems that obey would merge two others
        raise CannotWrite("neither record is the one that the study names")
    message = write_adt(kind, right, wrong, name=name, at=at)
    uid = uid_of(name)
    digest = f"sha256:{hashlib.sha256(message).hexdigest()}"
    return Written(uid, file_meta(MESSAGE_CLASS, uid, SYNTAX) + message, len(message), digest)


def _facts(said: Mapping[str, str]) -> PersonFacts:
    return PersonFacts(
        patient_id=said.get("patient_id", ""),
        issuer=said.get("issuer", ""),
        name=said.get("patient_name", ""),
        birth_date=said.get("birth_date", ""),
        sex=said.get("sex", ""),
    )
