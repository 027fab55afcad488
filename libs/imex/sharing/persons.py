"""Whose study it is: the identifier under which a person is known across studies and institutions. Pure."""

import re
from typing import NamedTuple

from imex.dicom import is_nhs_issuer
from imex.sharing.model import Study

NHS = "NHS"


class Person(NamedTuple):
    """A Patient ID qualified by its issuer. Patient data: never log it."""

    issuer: str
    patient_id: str

    @property
    def written(self) -> str:
        """The identifier without what people write between its characters: what studies are found by."""
        return re.sub(r"[ -]", "", self.patient_id)


def person(source: str, issuer: str, patient_id: str) -> Person | None:
    """Who an identifier stands for; an issuer that is not named is the source. None without an identifier."""
    identifier = patient_id.strip()
    if is_nhs_issuer(issuer):
        identifier = re.sub(r"[ -]", "", identifier)
        return Person(NHS, identifier) if identifier else None
    return Person(issuer.strip() or source, identifier) if identifier else None


def person_of(study: Study) -> Person | None:
    """Whose study it is; None where it names no Patient ID."""
    return person(study.source, study.issuer, study.patient_id)
