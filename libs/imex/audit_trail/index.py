"""The columns beside a record's body, by which it is found and shown: they must say what the body says."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any


def index_problem(body: str, columns: Mapping[str, Any]) -> str | None:
    """Which of the columns `event_id, at, action, institutions, study_uid, share` differs from the body."""
    expected = _columns(json.loads(body))
    for name, value in columns.items():
        if expected[name] != value:
            return f"its column {name!r} was changed"
    return None


def _columns(body: Mapping[str, Any]) -> dict[str, Any]:
    data = body["data"]
    return {
        "event_id": body["id"],
        "at": datetime.fromisoformat(body["time"]),
        "action": data["action"],
        "institutions": _readers(data),
        "study_uid": data.get("study_uid"),
        "share": data.get("share"),
    }


def _readers(data: Mapping[str, Any]) -> list[str]:
    actor = data["actor"]
    concerned = {actor.get("institution"), data.get("source"), data.get("recipient")}
    if actor["kind"] == "institution":
        concerned.add(actor["id"])
    return sorted(code for code in concerned if code)
