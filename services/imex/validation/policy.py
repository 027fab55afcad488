"""What findings do, as the directory says for the institution that sent it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from imex.directory import Directory, Severity
from imex.directory.findings import CHECKS
from imex.directory.temporary import is_temporary

_WAITS_AT_LEAST = frozenset({Severity.QUARANTINE, Severity.REFUSE})


@dataclass(frozen=True, slots=True)
class Policy:
    """What one institution's findings do."""

    severities: Mapping[str, Severity] = field(default_factory=dict)
    header_revisions: Literal["hold", "replace"] = "hold"
    temporary: tuple[str, ...] = ()
    """Patterns beside the common ones."""
    test_numbers: Literal["warn", "ok"] = "ok"
    """Whether a number of the test range is worth a warning."""

    def severity(self, check: str) -> Severity:
        """What a finding of this check does."""
        known = CHECKS[check]
        asked = self.severities.get(check, known.severity)
        if known.always_waits and asked not in _WAITS_AT_LEAST:
            return known.severity
        return asked

    def is_temporary(self, patient_name: str, patient_id: str) -> bool:
        """Whether it is a temporary identity of an emergency, by its name or its identifier."""
        return is_temporary(patient_name, patient_id, self.temporary)


class Policies:
    """The policies of one version of the directory."""

    def __init__(self, directory: Directory, test_numbers: Literal["warn", "ok"] = "warn") -> None:
        """`test_numbers` is of the stack: where patients are synthetic, their numbers are nothing to tell."""
        self._others = Policy(test_numbers=test_numbers)
        self._own = {
            one.code: Policy(one.checks, one.header_revisions, one.temporary_identities, test_numbers)
            for one in directory.institutions
            if one.checks or one.header_revisions != "hold" or one.temporary_identities
        }

    def of(self, source: str) -> Policy:
        """The policy for what an institution sends."""
        return self._own.get(source, self._others)
