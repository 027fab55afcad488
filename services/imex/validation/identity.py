"""Demographics: when two of them are one person's. Pure."""

import re
from dataclasses import dataclass

from imex.dicom import compact, is_nhs_issuer, qualified
from imex.events import Identity

_SPACES = re.compile(r"\s+")
_SEXES = {"M", "F"}
_TEST_RANGE = "999"


@dataclass(frozen=True, slots=True)
class Demographics:
    """What is compared, normalised: an empty field is unknown and disagrees with nothing."""

    issuer: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    temporary: bool = False
    """Of somebody who is not known yet: it disagrees with nobody, and is nobody's."""

    @property
    def person(self) -> tuple[str, str] | None:
        """The qualified identifier; None where there is none to know a person by."""
        return (self.issuer, self.patient_id) if self.patient_id and not self.temporary else None


def demographics(identity: Identity, source: str, *, temporary: bool = False) -> Demographics:
    """The demographics of an instance from `source`, whose identifiers are its own unless it says whose."""
    issuer, patient_id = qualified(identity.issuer, identity.patient_id, source)
    return Demographics(
        issuer=issuer,
        patient_id=patient_id,
        patient_name=_name(identity.patient_name),
        birth_date=identity.birth_date.strip(),
        sex=identity.sex.strip().upper(),
        temporary=temporary,
    )


def nhs_number_of(identity: Identity) -> str:
    """The NHS number, as Patient ID or among the others; empty where there is none."""
    if is_nhs_issuer(identity.issuer):
        return compact(identity.patient_id)
    return compact(identity.nhs_number)


def person_keys_of(identity: Identity, mine: Demographics) -> tuple[tuple[str, str], ...]:
    """Every qualified identifier that a person is known by: Patient ID, and an NHS number beside it."""
    keys = [mine.person] if mine.person else []
    number = nhs_number_of(identity)
    if number and not mine.temporary and ("NHS", number) not in keys:
        keys.append(("NHS", number))
    return tuple(keys)


def of_test_range(nhs_number: str) -> bool:
    """Whether an NHS number is one that is never issued."""
    return nhs_number.startswith(_TEST_RANGE)


def _name(text: str) -> str:
    # PS3.5 6.2.1: groups by "=", of which the first is compared; trailing empty components mean nothing
    components = text.split("=", 1)[0].rstrip("^ ").casefold().split("^")
    return "^".join(_SPACES.sub(" ", component).strip() for component in components)


def disagreements(one: Demographics, other: Demographics, *, identifiers: bool) -> list[str]:
    """The names of the fields that differ; with `identifiers`, the identifier is compared too."""
    found: list[str] = []
    if one.temporary or other.temporary:
        return found
    if identifiers and one.person and other.person and one.person != other.person:
        found.append("Patient ID")
    if one.patient_name and other.patient_name and one.patient_name != other.patient_name:
        found.append("Patient's Name")
    if one.birth_date and other.birth_date and one.birth_date != other.birth_date:
        found.append("Patient's Birth Date")
    if {one.sex, other.sex} <= _SEXES and one.sex != other.sex:
        found.append("Patient's Sex")
    return found
