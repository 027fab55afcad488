"""Forms of values by their value representation (PS3.5 section 6.2), as cheap as one match each."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

LONGEST_CHECKED: Final = 1024
"""Longer values, in bytes, are not looked at: they are lists of numbers."""

Form = Callable[..., Any]
"""Matches the bytes between two places of a buffer, or gives back None."""

_DATE: Final = r"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_TIME: Final = r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?"


def _form(one: str, padding: str = " ?") -> Form:
    """Matches a list of values, any of which may be empty, and the padding behind the last."""
    return re.compile(f"(?:{one})?(?:\\\\(?:{one})?)*{padding}".encode(), re.ASCII).fullmatch


def _text(longest: int) -> Form:
    """Matches values of at most so many characters, whatever single- or multi-byte set they are in."""
    one = rf"(?:[\x00-\x5b\x5d-\x7f]|[\x80-\xff]{{1,4}}+){{0,{longest}}}+"
    return re.compile(rf"{one}(?:\\{one})* ?".encode("latin-1")).fullmatch


FORMS: Final[dict[object, Form]] = {
    b"AS": _form("[0-9]{3}[DWMY]", ""),
    b"CS": _form("[A-Z0-9_ ]{1,16}", ""),
    b"DA": _form(_DATE),
    b"DS": _form(r"[0-9+\-.eE ]{1,16}", ""),
    b"DT": _form(r"[0-9]{4}(?:[0-9]{2}){0,5}(?:\.[0-9]{1,6})?(?:[+\-][0-9]{4})?"),
    b"IS": _form(r" {0,11}[+\-]?[0-9]{1,12} {0,11}", ""),
    b"TM": _form(f"{_TIME} *", ""),
    b"LO": _text(64),
    b"SH": _text(16),
    b"UI": _form("[0-9.]{1,64}", "\x00?"),
}
"""By VR: whether the bytes of a value, between two places of a buffer, have its form."""


@cache
def forms_by_tag() -> dict[object, Form]:
    """The same by tag, for Implicit VR, where only the dictionary tells the value representation."""
    from pydicom._dicom_dict import DicomDictionary

    return {
        tag: FORMS[entry[0].encode()] for tag, entry in DicomDictionary.items() if entry[0].encode() in FORMS
    }
