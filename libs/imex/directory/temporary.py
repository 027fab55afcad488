"""Identities of people who are not known yet. Pure."""

import re
from fnmatch import translate
from functools import lru_cache

TEMPORARY = ("UNKNOWN*", "TRAUMA*")
"""Names under which people are admitted before it is known who they are, in every institution."""


def is_temporary(patient_name: str, patient_id: str, own: tuple[str, ...] = ()) -> bool:
    """Whether it is a temporary identity of an emergency, by its name or its identifier.

    ``own`` are the institution's patterns beside the common ones; ``id:`` begins one of identifiers.
    """
    name_form, id_form = _patterns(own)
    return bool(name_form.match(patient_name.upper())) or (
        id_form is not None and bool(patient_id) and bool(id_form.match(patient_id.upper()))
    )


@lru_cache(maxsize=1024)
def _patterns(own: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
    names = [*TEMPORARY, *(one for one in own if not one.startswith("id:"))]
    ids = [one.removeprefix("id:") for one in own if one.startswith("id:")]
    return _one_of(names), _one_of(ids) if ids else None


def _one_of(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern.upper()) for pattern in patterns))
