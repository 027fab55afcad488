"""Whose study it is: the identifier under which a person is known across studies and institutions. Pure."""

from typing import NamedTuple

from imex.dicom import compact, qualified
from imex.sharing.model import Study


class Person(NamedTuple):
    """A Patient ID qualified by its issuer. Patient data: never log it."""

    issuer: str
    patient_id: str

    @property
    def written(self) -> str:
        """The identifier without what people write between its characters: what studies are found by."""
        return compact(self.patient_id)


def person(source: str, issuer: str, patient_id: str) -> Person | None:
    """Who an identifier stands for; an issuer that is not named is the source. None without an identifier."""
    found = Person(*qualified(issuer, patient_id, source))
    return found if found.patient_id else None


def person_of(study: Study) -> Person | None:
    """Whose study it is; None where it names no Patient ID."""
    return person(study.source, study.issuer, study.patient_id)
