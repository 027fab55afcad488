"""What has to be kept of a de-identified instance for the way back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

RE_IDENTIFIED: Final = "re-identified from project "
"""How it is told, with the project's name behind it."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was given in place of what. Sealed parts hold patient data."""

    project: str
    recipient: str
    source: str
    study_uid: str
    given_study_uid: str
    pseudonym: str
    uids: Mapping[str, str]
    """Original to given UIDs, those that this attempt has not noted before."""
    sealed_patient: Mapping[str, Any]
    sealed_study: Mapping[str, Any]


def patient_context(project: str, source: str, pseudonym: str) -> bytes:
    """What the facts of a patient are sealed to."""
    return f"pseudonym/{project}/{source}/{pseudonym}".encode()


def study_context(project: str, source: str, given_study_uid: str) -> bytes:
    """What the facts of a study are sealed to."""
    return f"release/{project}/{source}/{given_study_uid}".encode()
