"""The checks that validation makes: their names, what a finding does by default, and who may release it.

They are here, and not with validation, because the directory says for each institution what a finding does.
"""

from dataclasses import dataclass
from typing import Final, Literal

from imex.directory.policies import Severity

Releaser = Literal["source", "admin", "nobody"]
"""`source`: the people of the institution that sent it, and the administration; `admin`: the latter only."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check by its name."""

    name: str
    severity: Severity
    releaser: Releaser
    words: str
    """What it looks at, for people."""
    always_waits: bool = False
    """No directory can make a warning of it: nothing could be delivered, or two things under one name."""


_WARN, _HOLD = Severity.WARN, Severity.QUARANTINE

CHECKS: Final[dict[str, Check]] = {
    check.name: check
    for check in (
        Check(
            "readable",
            _HOLD,
            "nobody",
            "the data set can be read to its end, within the limits",
            always_waits=True,
        ),
        Check(
            "uid",
            _HOLD,
            "nobody",
            "the UIDs are there, have their form, and are those it was sent under",
            always_waits=True,
        ),
        Check("pixel-length", _HOLD, "source", "the pixel data is as long as rows, columns and frames say"),
        Check("pixel-unchecked", _WARN, "source", "the length of the pixel data can be told"),
        Check("nhs-number", _HOLD, "source", "the check digit of an NHS number"),
        Check("nhs-test-number", _WARN, "source", "an NHS number is not of the test range (999)"),
        Check("nhs-not-traced", _WARN, "source", "no NHS number is known not to be traced"),
        Check("nhs-superseded", _WARN, "source", "no NHS number is known to be superseded"),
        Check(
            "conflict",
            _HOLD,
            "source",
            "no other data came before under the SOP Instance UID",
            always_waits=True,
        ),
        Check(
            "other-study",
            _HOLD,
            "nobody",
            "the SOP Instance UID did not come before in another study",
            always_waits=True,
        ),
        Check("header-revision", _HOLD, "source", "no other header came before with the same pixel data"),
        Check("study-demographics", _HOLD, "source", "the demographics of a study agree"),
        Check("person-demographics", _HOLD, "source", "the person is the one known under the identifier"),
        Check("temporary-identity", _WARN, "source", "the person is known, and not an unknown male"),
        Check("patient-id", _WARN, "source", "there is a Patient ID"),
        Check("issuer", _WARN, "source", "the Patient ID says who issued it"),
        Check("patient-name", _WARN, "source", "there is a Patient's Name"),
        Check("modality", _WARN, "source", "there is a Modality"),
        Check("type-1", _WARN, "source", "attributes of Type 1 have a value (PS3.3)"),
        Check("type-2", _WARN, "source", "attributes of Type 2 are there (PS3.3)"),
        Check("value-form", _WARN, "source", "values have the form and length of their VR (PS3.5 6.2)"),
        Check("odd-length", _WARN, "source", "values have an even length (PS3.5 7.1)"),
        Check("encoding", _WARN, "source", "the character set is known, the text fits it, elements ascend"),
        Check("burned-in", _WARN, "source", "the pixels are not said to show who it is"),
    )
}
"""By name. What INTERFACE lists as waiting for a person waits; everything else is told."""
