"""A recipient's own identifiers for a sender's: when one may stand for another. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["patient", "accession"]

WORDS: Final[dict[str, str]] = {"patient": "Patient ID", "accession": "Accession Number"}


class Told(BaseModel):
    """What a command says of a mapping, sealed. Patient data."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issuer: str = ""
    value: str
    own: str
    name: str = ""
    birth_date: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A mapping that is there. Patient data."""

    source: str
    issuer: str
    value: str
    own: str
    name: str
    birth_date: str


def domain(issuer: str, source: str) -> str:
    """The issuer under which an identifier is looked up: empty for the source's own."""
    return "" if issuer.strip().casefold() == source.casefold() else issuer.strip()


def collision(held: Iterable[Held], kind: Kind, source: str, told: Told) -> str:
    """Why a mapping may not be added beside those of the same recipient and kind; empty when it may.

    Of one sender, one identifier has one of the recipient's own and the other way round. Patient IDs of two
    senders may lead to the same one only where name and birth date of both are known, and agree. The words
    hold no patient data.
    """
    one = (source, domain(told.issuer, source), told.value)
    for other in held:
        if (other.source, other.issuer, other.value) == one:
            if other.own != told.own:
                return f"this {WORDS[kind]} of {source} is mapped to another one already: remove that first"
        elif other.own == told.own and (words := _shared(other, kind, source, told)):
            return words
    return ""


def _shared(other: Held, kind: Kind, source: str, told: Told) -> str:
    """Why two identifiers may not lead to the same one."""
    if other.source == source or kind == "accession":
        return f"another {WORDS[kind]} of {other.source} is mapped to this one already: remove that first"
    if not (other.name and other.birth_date and told.name and told.birth_date):
        return (
            f"a Patient ID of {other.source} is mapped to this one already: give name and birth date with "
            "both, so that they can be compared"
        )
    if not same_person(other.name, other.birth_date, told.name, told.birth_date):
        return (
            f"a Patient ID of {other.source} is mapped to this one already, for a person of another name or "
            "birth date"
        )
    return ""


def same_person(name: str, birth_date: str, other_name: str, other_birth_date: str) -> bool:
    """Whether demographics agree, as far as both sides have them."""
    names = _words(name), _words(other_name)
    dates = "".join(filter(str.isdigit, birth_date)), "".join(filter(str.isdigit, other_birth_date))
    return (not all(names) or names[0] == names[1]) and (not all(dates) or dates[0] == dates[1])


def _words(name: str) -> frozenset[str]:
    from imex.deidentification.known import words

    return frozenset(words(name))
