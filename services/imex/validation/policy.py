"""What findings do, as the directory says for the institution that sent it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from typing import Literal

from imex.directory import Directory, Severity
from imex.directory.findings import CHECKS

_WAITS_AT_LEAST = frozenset({Severity.QUARANTINE, Severity.REFUSE})
TEMPORARY = ("UNKNOWN*", "TRAUMA*")
"""Names under which people are admitted before it is known who they are, in every institution."""


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
        name_form, id_form = _patterns(self.temporary)
        return bool(name_form.match(patient_name.upper())) or (
            id_form is not None and bool(patient_id) and bool(id_form.match(patient_id.upper()))
        )


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


@lru_cache(maxsize=1024)
def _patterns(own: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
    names = [*TEMPORARY, *(one for one in own if not one.startswith("id:"))]
    ids = [one.removeprefix("id:") for one in own if one.startswith("id:")]
    return _one_of(names), _one_of(ids) if ids else None


def _one_of(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern.upper()) for pattern in patterns))
