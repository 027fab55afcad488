"""Patient updates and merges for a recipient's systems (ADT, HL7 v2.5 3.3; IHE RAD TF-2 4.12). Pure."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from imex.hl7.writing import escaped

MESSAGE_CLASS: Final = "2.25.148306720146803516211297371286305519432"
"""Imex's own, where a manifest names SOP classes: the payload is an HL7 message, for an HL7 listener."""

Change = Literal["demographics", "merge"]


class CannotWrite(Exception):
    """The facts do not make a message; words without patient data."""


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """Who somebody is, as DICOM writes it; what is empty is not spoken of. Patient data."""

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""

    def over(self, other: "PersonFacts") -> "PersonFacts":
        """These, and what they leave open from the other."""
        names = ("patient_id", "issuer", "name", "birth_date", "sex")
        return replace(self, **{name: getattr(self, name) or getattr(other, name) for name in names})


def write_adt(change: Change, right: PersonFacts, wrong: PersonFacts, *, name: UUID, at: datetime) -> bytes:
    """The message that tells a change; the same arguments give the same bytes.

    Two records are merged by A40 into the one that is `right`. Of one record another identifier is A47, and
    anything else A08, with all that is known. `wrong` says what the recipient has.

    Raises:
        CannotWrite: an identifier is missing, or a merge names one record twice.
    """
    now = right.over(replace(wrong, patient_id="", issuer="") if right.patient_id else wrong)
    if not now.patient_id or not wrong.patient_id:
        raise CannotWrite("it does not say by which identifier the recipient knows the person")
    other = (now.patient_id, now.issuer) != (wrong.patient_id, wrong.issuer or now.issuer)
    if change == "merge" and not other:
        raise CannotWrite("a merge is of two identifiers")
    event, structure = ("A40", "ADT_A39") if change == "merge" else ("A47", "ADT_A30")
    if not other:
        event, structure = "A08", "ADT_A01"
    moment = f"{at:%Y%m%d%H%M%S%z}"
    segments = [
        f"MSH|^~\\&|IMEX||||{moment}||ADT^{event}^{structure}|{name.hex[:20]}|P|2.5||||||UNICODE UTF-8",
        f"EVN||{moment}",
        f"PID|||{_identifier(now)}||{_name(now.name)}||{escaped(now.birth_date)}|{escaped(now.sex)}",
    ]
    segments.append(f"MRG|{_identifier(wrong)}" if other else "PV1||N")
    return "".join(f"{one}\r" for one in segments).encode()


def _identifier(person: PersonFacts) -> str:
    issuer = f"^^^{escaped(person.issuer)}" if person.issuer else ""
    return escaped(person.patient_id) + issuer


def _name(name: str) -> str:
    """HL7 has suffix and prefix the other way round than DICOM; of several representations, the first."""
    parts = (name.split("=", maxsplit=1)[0].split("^") + [""] * 5)[:5]
    family, given, middle, prefix, suffix = (escaped(one) for one in parts)
    return f"{family}^{given}^{middle}^{suffix}^{prefix}".rstrip("^")
