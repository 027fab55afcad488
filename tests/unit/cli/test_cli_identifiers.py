"""`imex identifiers`: what is asked of the API, and what is said of its answer."""

from typing import Any

MAPPING = {
    "id": "0b7f1c6e-4a0e-5d53-9a5a-1d1f4f0c9b7e", "recipient": "RT3", "kind": "patient", "source": "RQM",
    "issuer": "", "value": "MRN1", "own": "B-1", "name": "", "birth_date": "", "actor": "sam",
    "at": "2026-04-01T10:00:00Z",
}  # fmt: skip


def test_a_mapping_is_added(run: Any, api: Any) -> None:
    api.on("POST", "/identifiers", api.reply(MAPPING, 201))
    result = run("identifiers", "add", "MRN1", "B-1", "--recipient", "RT3", "--source", "RQM")
    assert result.code == 0 and "B-1" in result.out
    assert api.asked[-1].json["value"] == "MRN1"


def test_mappings_are_listed(run: Any, api: Any) -> None:
    api.on("GET", "/identifiers", api.reply({"items": [MAPPING], "next": None}))
    assert "MRN1" in run("identifiers", "list", "--recipient", "RT3").out
    assert api.asked[-1].query["recipient"] == "RT3"


def test_a_mapping_is_removed(run: Any, api: Any) -> None:
    api.on("DELETE", f"/identifiers/{MAPPING['id']}", api.reply(None, 204))
    assert run("identifiers", "remove", MAPPING["id"]).code == 0


def test_what_collides_is_said(run: Any, api: Any) -> None:
    problem = {"title": "Conflict", "status": 409, "detail": "Remove that first."}
    api.on("POST", "/identifiers", api.reply(problem, 409))
    result = run("identifiers", "add", "MRN1", "B-2", "--recipient", "RT3", "--source", "RQM")
    assert result.code == 1 and "Remove that first" in result.err
