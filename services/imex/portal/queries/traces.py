"""Finding a study by its trace id, which is a hash over source and study UID and stored nowhere."""

import re

from sqlalchemy import ColumnElement, func, literal

_TRACE_ID = re.compile(r"[0-9a-f]{32}")


def trace_id_column(
    source: ColumnElement[str], study_uid: ColumnElement[str], identifier: str
) -> ColumnElement[bool] | None:
    """Whether a row's trace id is `identifier`; None when that is no trace id at all.

    The same derivation as `imex.events.ids.trace_id`, in SQL.
    """
    if not _TRACE_ID.fullmatch(identifier):
        return None
    key = func.convert_to(source + literal("/") + study_uid, "UTF8")
    return func.encode(func.substring(func.sha256(key), 1, 16), "hex") == identifier
