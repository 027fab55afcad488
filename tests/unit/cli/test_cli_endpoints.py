"""`imex endpoints` and `imex simulate`: what is asked, shown and returned."""

from typing import Any

import pytest

STEPS = [
    {"name": "connection", "result": "ok", "words": "connected", "advice": "", "ms": 1.2, "facts": {}},
    {
        "name": "accepted",
        "result": "warning",
        "words": "the directory lists what the node does not accept",
        "advice": "Have the node accept them.",
        "ms": 0.1,
        "facts": {"accepted": [{"sop_class": "CT Image Storage", "transfer_syntaxes": []}]},
    },
]


def described(state: str = "done", outcome: str | None = "passed", steps: Any = STEPS) -> dict[str, Any]:
    return {
        "id": "7a",
        "recipient": "RT3",
        "endpoint": "pacs",
        "send": True,
        "actor": "sam",
        "state": state,
        "outcome": outcome,
        "reason": "with 1 warning",
        "steps": steps,
        "requested_at": "2026-03-05T14:30:00+00:00",
    }


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imex.cli.endpoints.POLL_S", 0.01)


def test_a_test_is_followed_until_it_is_done(run: Any, api: Any) -> None:
    answers = iter([api.reply({"title": "Not Found"}, 404), api.reply(described("running", None, STEPS[:1]))])
    api.on("GET", "/institutions", api.reply({"items": [{"code": "RT3", "endpoints": ["pacs"]}]}))
    api.on("POST", "/endpoints/RT3/pacs/tests", api.reply(described("waiting", None, []), 202))
    api.on("GET", "/endpoints/RT3/pacs/tests/7a", lambda _: next(answers, api.reply(described())))
    result = run("endpoints", "test", "RT3", "--send")
    assert result.code == 0, result.err
    assert next(one.json for one in api.asked if one.method == "POST") == {"send": True}
    lines = result.out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["ok", "connection"], ["warning", "accepted"]]
    assert "→ Have the node accept them." in result.out
    assert "not accepted" in result.out
    assert lines[-1] == "Passed: with 1 warning."


@pytest.mark.parametrize("outcome", ["failed", "refused", "broken off"])
def test_what_did_not_pass_ends_with_1(run: Any, api: Any, outcome: str) -> None:
    api.on("POST", "/endpoints/RT3/pacs/tests", api.reply(described("waiting", None, []), 202))
    api.on("GET", "/endpoints/RT3/pacs/tests/7a", api.reply(described("done", outcome)))
    result = run("endpoints", "test", "RT3/pacs", "--json")
    assert result.code == 1
    assert result.json["outcome"] == outcome


def test_who_has_no_endpoint_is_told(run: Any, api: Any) -> None:
    api.on("GET", "/institutions", api.reply({"items": [{"code": "RQM", "endpoints": []}]}))
    assert "RQM has no endpoint" in run("endpoints", "test", "RQM").err
    assert "There is no institution 'RXX'" in run("endpoints", "test", "RXX").err


def test_earlier_tests_are_listed(run: Any, api: Any) -> None:
    api.on("GET", "/endpoints/RT3/pacs/tests", api.reply({"items": [described()], "next": None}))
    assert "with 1 warning" in run("endpoints", "tests", "RT3/pacs").out


def test_the_simulators_list_what_they_can_do_wrong(run: Any) -> None:
    for who, name in (("pacs", "close-after-data"), ("sender", "late-instances")):
        result = run("simulate", who, "--list", "--json")
        assert name in {one["name"] for one in result.json}
    assert "imex simulate sender --list" in run("simulate", "sender", "--failure", "nonsense").err
    assert "go together" in run("simulate", "pacs", "--tls-key", "k.pem").err
    assert "AE@HOST:PORT" in run("simulate", "pacs", "--commit-to", "nowhere").err
