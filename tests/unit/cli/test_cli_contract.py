"""What the commands ask for is what the API offers: path, method, parameters, fields of the body."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI

from imex.portal.api.router import api_router

SHARE = "0b0e9a52-98e0-5b1c-9d55-2f6a4f3f9a01"
EMPTY = '{"institutions":[]}'


@pytest.fixture(scope="module")
def offered() -> dict[str, Any]:
    app = FastAPI()
    app.include_router(api_router())
    return app.openapi()


def operation(offered: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    for template, operations in offered["paths"].items():
        pattern = re.sub(r"\{[a-z_]+\}", "[^/]+", template)
        if re.fullmatch(pattern, f"/api/v1{path}") and method.lower() in operations:
            found: dict[str, Any] = operations[method.lower()]
            return found
    raise AssertionError(f"the API offers no {method} {path}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("find", "1.2.3"),
        ("show", SHARE),
        ("show", "1.2.3"),
        ("quarantine", "list", "--state", "waiting", "--study", "1.2.3", "--limit", "3"),
        ("quarantine", "show", SHARE),
        ("notices", "list", "--state", "acknowledged", "--limit", "3"),
        ("notices", "acknowledge", SHARE, "--remark", "seen to"),
        ("holds", "list", "--limit", "3"),
        ("holds", "place", "1.2.3", "--source", "RQM", "--reason", "x"),
        ("holds", "lift", "1.2.3", "--source", "RQM", "--reason", "x"),
        ("commitments", "list", "--state", "reported", "--limit", "3"),
        ("commitments", "show", SHARE),
        ("requests", "list", "--state", "open", "--limit", "3"),
        ("requests", "show", SHARE),
        ("requests", "make", "--to", "RQM", "--accession", "A1", "--reason", "x", "--since", "2026-01-01"),
        ("requests", "grant", SHARE),
        ("requests", "refuse", SHARE, "--reason", "x"),
        ("requests", "withdraw", SHARE),
        ("inbox", "list", "--standing", "waiting", "--limit", "3"),
        ("inbox", "accept", SHARE),
        ("inbox", "refuse", SHARE, "--reason", "x"),
        ("quarantine", "release", SHARE, "--reason", "x"),
        ("quarantine", "discard", SHARE, "--reason", "x"),
        ("deliveries", "list", "--state", "waiting", "--share", SHARE, "--to", "RT3"),
        ("deliveries", "retry", SHARE, "--reason", "x"),
        ("deliveries", "cancel", SHARE),
        ("events", "tail", "--no-follow", "--type", "imex.share.delivered"),
        ("directory", "export", "-"),
        ("directory", "diff", "FILE"),
        ("directory", "apply", "FILE"),
    ],
    ids=" ".join,
)
def test_a_command_asks_for_what_the_api_offers(
    run: Any, api: Any, tmp_path: Path, offered: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    (tmp_path / "directory.yaml").write_text(EMPTY)
    api.on("GET", "/directory", api.reply(EMPTY, headers={"ETag": '"v"'}))
    api.on("GET", f"/shares/{SHARE}", api.reply({"id": SHARE}))
    api.on("GET", f"/shares/{SHARE}/timeline", api.reply({"items": [], "next": None}))
    api.on("GET", "/events", api.reply({"items": [], "next": "0"}))
    run(
        *(str(tmp_path / "directory.yaml") if one == "FILE" else one for one in arguments), *_quiet(arguments)
    )
    assert api.asked
    for asked in api.asked:
        found = operation(offered, asked.method, urlsplit(asked.path).path)
        known = {one["name"] for one in found.get("parameters", []) if one["in"] == "query"}
        assert set(asked.query) <= known
        for name in ("state", "limit"):
            _within(found, name, asked.query.get(name))
        if asked.headers.get("content-type") == "application/json":
            assert set(asked.json) <= _fields(offered, found)


def _quiet(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return () if arguments[:2] == ("directory", "export") else ("--json",)


def _within(found: dict[str, Any], name: str, value: str | None) -> None:
    if value is None:
        return
    schema = next(one["schema"] for one in found["parameters"] if one["name"] == name)
    options = schema.get("anyOf", [schema])
    choices = [choice for option in options for choice in option.get("enum", [])]
    assert not choices or value in choices
    largest = [option["maximum"] for option in options if "maximum" in option]
    assert not largest or int(value) <= largest[0]


def _fields(offered: dict[str, Any], found: dict[str, Any]) -> set[str]:
    schema = found["requestBody"]["content"]["application/json"]["schema"]
    for option in schema.get("anyOf", [schema]):
        if "$ref" in option:
            name = option["$ref"].rsplit("/", 1)[-1]
            return set(offered["components"]["schemas"][name]["properties"])
    return set()
