"""The columns by which a record is found say what its body says."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from imex.audit_trail.index import index_problem

BODY = json.dumps(
    {
        "id": "b9cd3af7-3238-5c39-ae72-458693371a1b",
        "time": "2026-11-25T00:38:02.777265+00:00",
        "data": {
            "action": "share_delivered",
            "actor": {"kind": "institution", "id": "RQM", "institution": "RQM"},
            "source": "RQM",
            "recipient": "RT3",
            "study_uid": "1.2.3",
        },
    }
)
COLUMNS: dict[str, Any] = {
    "event_id": "b9cd3af7-3238-5c39-ae72-458693371a1b",
    "at": datetime(2026, 11, 25, 0, 38, 2, 777265, tzinfo=UTC),
    "action": "share_delivered",
    "institutions": ["RQM", "RT3"],
    "study_uid": "1.2.3",
    "share": None,
}


def test_what_was_written_agrees() -> None:
    assert index_problem(BODY, COLUMNS) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("event_id", "00000000-0000-0000-0000-000000000000"),
        ("at", datetime(2026, 11, 24, tzinfo=UTC)),
        ("action", "share_viewed"),
        ("institutions", ["RT3"]),
        ("study_uid", "1.2.4"),
        ("study_uid", None),
        ("share", "00000000-0000-0000-0000-000000000000"),
    ],
)
def test_a_changed_column_is_named(column: str, value: object) -> None:
    assert index_problem(BODY, COLUMNS | {column: value}) == f"its column {column!r} was changed"
