"""What is known of who a data set is about, and finding it again in text."""

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+")
_BETWEEN_DIGITS: Final = re.compile(r"(?<=\d)[-/. ](?=\d)")
_TELLING: Final = re.compile(
    r"[^\s@]{1,64}@[^\s@]{1,255}\.\w{1,24}"  # an e-mail address
    r"|\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b"  # a date
    r"|\b(?:19|20)\d{6}\b"
    r"|(?<!\d)(?:\d[ -]?){6,40}\d\b"  # a telephone or identity number
    r"|\b(?:dr|prof|mr|mrs|ms|miss|sir)\b\.?\s+\w+",
    re.IGNORECASE,
)
_SAY_NOTHING: Final = frozenset(
    {"unknown", "anonymous", "anonymized", "anonymised", "none", "null", "removed", "test", "patient", "male"}
    | {"female", "baby", "boy", "girl", "mr", "mrs", "ms", "dr", "prof", "miss", "sir"}
)
_SHORTEST_NAME: Final = 3
_SHORTEST_ID: Final = 3
_SUBSTRING_ID: Final = 5
"""Shorter identifiers count only as a whole word: within others they would be found everywhere."""


def folded(text: str) -> str:
    """Text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(one for one in decomposed if not unicodedata.combining(one)).casefold()


def words(text: str) -> list[str]:
    """The words of a text, folded."""
    return _WORD.findall(folded(text))


def compact(text: str) -> str:
    """Letters and digits only, folded."""
    return "".join(words(text))


def _telling(identifier: str) -> bool:
    """Whether it is found within other text too; `000012` would be found everywhere."""
    return len(identifier.lstrip("0")) >= _SUBSTRING_ID


@dataclass(slots=True)
class Known:
    """Identifiers of one patient, and names of the people around: folded, for finding only. Patient data."""

    names: set[str] = field(default_factory=set)
    full_names: set[str] = field(default_factory=set)
    identifiers: set[str] = field(default_factory=set)
    birth_dates: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)

    def add_name(self, name: str) -> None:
        """A patient's name, with components and component groups of PS3.5 section 6.2.1."""
        parts = [part for part in words(name) if part not in _SAY_NOTHING]
        self.names.update(part for part in parts if len(part) >= _SHORTEST_NAME or not part.isascii())
        # short ones are cleaned, and not searched for
        self.people.update(part for part in parts if len(part) > 1)
        if len(parts) > 1:
            for whole in ("".join(parts[:2]), "".join(reversed(parts[:2]))):
                if len(whole) >= _SUBSTRING_ID:
                    self.full_names.add(whole)

    def add_person(self, name: str) -> None:
        """Somebody else's name."""
        self.people.update(part for part in words(name) if part not in _SAY_NOTHING and len(part) > 1)

    def add_identifier(self, identifier: str) -> None:
        """An identifier that tells a patient from others."""
        one = compact(identifier)
        if len(one) >= _SHORTEST_ID and one not in _SAY_NOTHING and one.strip("0"):
            self.identifiers.add(one)

    def add_birth_date(self, value: str) -> None:
        """A birth date, found in any usual way of writing it."""
        digits = re.sub(r"\D", "", value)
        if len(digits) == 8:
            year, month, day = digits[:4], digits[4:6], digits[6:]
            self.birth_dates |= {year + month + day, day + month + year, month + day + year}

    def found_in(self, text: str, *, vocabulary: bool = False) -> str:
        """What of it stands in a text: `name`, `identifier`, `birth date`, or nothing (empty).

        In a `vocabulary` of codes (VR CS) words are no names.
        """
        said = words(text)
        if not said:
            return ""
        run = "".join(said)
        if any(one in (run if _telling(one) else said) for one in self.identifiers):
            return "identifier"
        if not vocabulary:
            if any(one in self.names for one in said) or any(one in run for one in self.full_names):
                return "name"
            if any(not one.isascii() and one in run for one in self.names):
                return "name"
        if self.birth_dates:
            digits = _BETWEEN_DIGITS.sub("", text)
            if any(one in digits for one in self.birth_dates):
                return "birth date"
        return ""

    def cleaned(self, text: str) -> str:
        """The text without what tells who it is about; empty where that cannot be told apart."""
        kept = _TELLING.sub(" ", text)
        telling = self.names | self.people | self.identifiers
        kept = _WORD.sub(lambda match: "" if compact(match.group()) in telling else match.group(), kept)
        kept = re.sub(r"[ \t]{2,}", " ", kept).strip(" ^,;:-_/()")
        return "" if self.found_in(kept) else kept
