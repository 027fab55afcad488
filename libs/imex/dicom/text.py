"""Text values: Specific Character Set (PS3.3 section C.12.1.1.2) and padding (PS3.5 section 6.2)."""

import warnings
from collections.abc import Sequence
from functools import cache, lru_cache

_PERSON_NAME_DELIMITERS = frozenset({0x5E, 0x3D})  # ^ and = also end a code extension in a PN


@cache
def _known_encodings() -> frozenset[str]:
    from pydicom.charset import python_encoding  # pydicom is slow to import: only where it is needed

    return frozenset(python_encoding.values())


@lru_cache(maxsize=256)
def encodings_of(character_set: str) -> tuple[Sequence[str], bool]:
    """Python's codecs for a Specific Character Set, and whether all its terms are known.

    A term that is not known stands for the default repertoire.
    """
    if not character_set or character_set == "ISO_IR 6":
        return ["iso8859"], True
    from pydicom.charset import convert_encodings

    terms = [term.strip() for term in character_set.split("\\")]
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        try:
            found = convert_encodings(terms)
        except (LookupError, UnicodeError, ValueError):
            return ["iso8859"], False
    usable = [codec if codec in _known_encodings() else "iso8859" for codec in found]
    return usable, not raised and usable == found


def decode(raw: bytes, encodings: Sequence[str], *, person_name: bool = False) -> str:
    """The text of a value without its padding; bytes that make no sense become U+FFFD, never an error."""
    if raw.isascii() and 0x1B not in raw:
        text = raw.decode("ascii").strip(" \0")
        return text.rstrip("=") if person_name else text
    from pydicom.charset import decode_bytes
    from pydicom.valuerep import TEXT_VR_DELIMS

    delimiters = set(TEXT_VR_DELIMS | _PERSON_NAME_DELIMITERS) if person_name else set(TEXT_VR_DELIMS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parts = raw.split(b"=") if person_name else [raw]
            text = "=".join(decode_bytes(part, encodings, delimiters) for part in parts)
        except (LookupError, UnicodeError, ValueError):
            text = raw.decode("ascii", errors="replace")
    text = text.strip(" \0")
    return text.rstrip("=") if person_name else text
