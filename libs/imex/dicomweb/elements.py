"""Elements of the DICOM JSON model (PS3.18 annex F)."""

from typing import Any

Json = dict[str, Any]


def element(vr: str, *values: Any) -> Json:
    """One element; without values an empty one."""
    given = [value for value in values if value not in (None, "")]
    if vr == "PN":
        given = [_name(value) for value in given]
    return {"vr": vr, "Value": given} if given else {"vr": vr}


def _name(value: str) -> Json:
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False))
    return {name: text for name, text in groups.items() if text}
