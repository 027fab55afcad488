"""Acknowledgements (HL7 v2.5 2.9): what they say, with words in ERR and no patient data. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from imex.hl7.message import Message
from imex.hl7.writing import escaped

Code = Literal["AA", "AE", "AR"]
"""Accepted; an error, in it or here, so that it may be sent again once that is mended; refused for good."""
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")
_ENHANCED = frozenset({"AL", "SU", "ER"})
_MOST = 199


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is answered. `error`: a code of table 0357; `at`: where the fault is, such as `PID^1^3`."""

    code: Code
    words: str = ""
    error: str = ""
    at: str = ""


TAKEN = Verdict("AA")
_ERRORS = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "200": "Unsupported message type",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "207": "Application internal error",
}


def acknowledgement(message: Message | None, verdict: Verdict, at: datetime, own_name: str) -> bytes:
    """The answer to a message, or to what could not be read as one. In its separators, if these are usual."""
    header = message.header if message else None

    def said(field: int) -> str:
        return _escaped(header.text(field)[:_MOST]) if header else ""

    control = said(10)
    trigger = _escaped(header.text(9, 2)) if header else ""
    msh = [
        "MSH", "^~\\&", _escaped(own_name), said(6), said(3), said(4), f"{at:%Y%m%d%H%M%S%z}", "",
        f"ACK^{trigger or 'R01'}^ACK", f"A{control}"[:_MOST], said(11) or "P", said(12) or "2.5",
        "", "", "", "", "", "UNICODE UTF-8",
    ]  # fmt: skip
    code = verdict.code
    if header and header.text(15) in _ENHANCED:
        code = f"C{code[1]}"  # type: ignore[assignment]
    segments = ["|".join(msh), f"MSA|{code}|{control}"]
    if verdict.code != "AA":
        named = f"{verdict.error}^{_ERRORS.get(verdict.error, 'Application error')}^HL70357"
        segments.append(f"ERR||{verdict.at}|{named}|E||||{_escaped(verdict.words[:250])}")
    return "".join(f"{one}\r" for one in segments).encode()


def _escaped(text: str) -> str:
    """What is said of another's message goes back as plain ASCII."""
    return escaped(_NOT_PLAIN.sub("?", text))
