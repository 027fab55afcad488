"""Lists are whole, `--json` is what the API answers, and failures say what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from imex.cli import events
from imex.cli.client import Api
from imex.cli.failure import Failure, Unreachable

SHARE = {
    "id": "0b0e9a52-98e0-5b1c-9d55-2f6a4f3f9a01",
    "study_uid": "1.2.3",
    "source": "RQM",
    "recipient": "RT3",
    "purpose": "direct-care",
    "legal_basis": "UK GDPR",
    "agreement": "a1",
    "rule": "r1",
    "priority": "routine",
    "state": "delivered",
    "reason": "",
    "instances": {
        "expected": 2,
        "received": 2,
        "validated": 2,
        "quarantined": 0,
        "delivered": 2,
        "failed": 0,
    },
    "bytes": 1_050_000,
    "created_at": "2026-01-01T12:00:00Z",
    "updated_at": "2026-01-01T12:00:03Z",
    "trace_id": "a" * 32,
}
STEPS = [
    {"at": "2026-01-01T12:00:00Z", "step": "received", "actor": "RQM_PACS", "reason": "", "details": {}},
    {"at": "2026-01-01T12:00:03.5Z", "step": "delivered", "actor": "delivery", "reason": "", "details": {}},
]


def pages(api: Any, path: str, items: list[Any]) -> None:
    """Serve a list two at a time, as a cursor would."""

    def page(asked: Any) -> Any:
        start, size = int(asked.query.get("after", 0)), min(2, int(asked.query["limit"]))
        end = start + size
        following = str(end) if end < len(items) else None
        return api.reply({"items": items[start:end], "next": following})

    api.on("GET", path, page)


def deliveries(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"d{n}", "state": "ended", "outcome": "delivered", "recipient": "RT3", "endpoint": "pacs"}
        for n in range(count)
    ]


def test_a_list_is_whole_across_pages(run: Any, api: Any) -> None:
    pages(api, "/deliveries", deliveries(5))
    told = run("deliveries", "list", "--json").json
    assert [one["id"] for one in told["items"]] == ["d0", "d1", "d2", "d3", "d4"]
    assert told["next"] is None
    assert all(f"d{n}" in run("deliveries", "list").out for n in range(5))


@pytest.mark.parametrize(("limit", "following"), [(1, "1"), (3, "3"), (5, None), (9, None)])
def test_a_limit_is_kept_and_the_cursor_told(run: Any, api: Any, limit: int, following: str | None) -> None:
    pages(api, "/deliveries", deliveries(5))
    told = run("deliveries", "list", "--json", "--limit", str(limit)).json
    assert len(told["items"]) == min(limit, 5)
    assert told["next"] == following


def test_find_prints_what_the_api_answers(run: Any, api: Any) -> None:
    found = {"studies": [], "shares": [SHARE]}
    api.on("GET", "/find", api.reply(found))
    assert run("find", "1.2.3", "--json").json == found
    words = run("find", "1.2.3").out
    assert SHARE["id"] in words
    assert "2 of 2" in words
    assert api.asked[-1].query == {"identifier": "1.2.3"}


def test_nothing_found_is_said(run: Any, api: Any) -> None:
    api.on("GET", "/find", api.reply({"studies": [], "shares": []}))
    result = run("find", "9.9")
    assert result.code == 0
    assert "Nothing was found" in result.out


def serve_share(api: Any) -> None:
    path = f"/shares/{SHARE['id']}"
    api.on("GET", path, api.reply(SHARE))
    pages(api, f"{path}/timeline", STEPS)


def test_show_has_state_timeline_receipt_and_trace(run: Any, api: Any) -> None:
    serve_share(api)
    instances = [
        {"sop_instance_uid": "1.1", "status": "confirmed", "changes": ["Patient ID mapped"]},
        {"sop_instance_uid": "1.2", "status": "held", "reason": "NHS number is wrong"},
    ]
    receipt = {"revision": 1, "instances": instances, "complete": False}
    api.on("GET", f"/shares/{SHARE['id']}/receipt", api.reply(receipt))
    words = run("show", SHARE["id"]).out
    for expected in (
        "delivered",
        "received",
        "+3.500 s",
        "1 of 2 instances confirmed",
        "Changed on the way out: Patient ID mapped",
        "NHS number is wrong",
    ):
        assert expected in words
    told = run("show", SHARE["id"], "--json").json
    assert told["state"] == "delivered"
    assert told["timeline"] == STEPS
    assert told["receipt"] == receipt


def test_show_takes_any_number_that_names_one_share(run: Any, api: Any) -> None:
    serve_share(api)
    api.on("GET", "/find", api.reply({"studies": [], "shares": [SHARE]}))
    result = run("show", "1.2.3")
    assert result.code == 0
    assert "Receipt" not in result.out
    api.on("GET", "/find", api.reply({"studies": [], "shares": [SHARE, {**SHARE, "id": "other"}]}))
    many = run("show", "1.2.3")
    assert many.code == 1
    assert "names 2 shares" in many.err


def test_quarantine_lists_what_waits_and_sends_decisions(run: Any, api: Any) -> None:
    entry = {"id": "q1", "sop_instance_uid": "1.1", "study_uid": "1.2.3", "reason": "unreadable at byte 9"}
    pages(api, "/quarantine", [entry])
    assert "unreadable at byte 9" in run("quarantine", "list").out
    assert api.asked[-1].query["state"] == "waiting"
    assert run("quarantine", "list", "--state", "any", "--json").json["items"] == [entry]
    assert "state" not in api.asked[-1].query
    api.on("GET", "/quarantine/q1", api.reply(entry))
    assert run("quarantine", "show", "q1", "--json").json == entry
    api.on("POST", "/quarantine/q1/release", api.reply({**entry, "state": "released"}))
    assert "released" in run("quarantine", "release", "q1", "--reason", "checked by phone").out
    assert api.asked[-1].json == {"reason": "checked by phone"}
    assert run("quarantine", "discard", "q1").code == 2, "a reason is compulsory"


def test_all_that_waits_of_a_study_is_decided_at_once(run: Any, api: Any) -> None:
    entries = [{"id": f"q{number}", "study_uid": "1.2.3", "state": "waiting"} for number in range(3)]
    pages(api, "/quarantine", entries)
    for entry in (entries[0], entries[2]):
        api.on("POST", f"/quarantine/{entry['id']}/release", api.reply({**entry, "state": "released"}))
    problem = {"title": "Conflict", "status": 409, "detail": "It cannot be released: unreadable."}
    api.on("POST", "/quarantine/q1/release", api.reply(problem, 409))
    done = run("quarantine", "release", "--study", "1.2.3", "--reason", "the ward confirmed it")
    assert done.out.splitlines() == ["q0: released", "q2: released"]
    assert done.code == 1
    assert done.err.startswith("q1: Conflict: It cannot be released")
    assert run("quarantine", "release", "--reason", "x").code == 2, "of what?"


def test_a_delivery_is_retried(run: Any, api: Any) -> None:
    api.on("POST", "/deliveries/d1/retry", api.reply({"id": "d1"}, 202))
    assert run("deliveries", "retry", "d1").code == 0


def test_dead_letters_are_named_by_their_place(run: Any, api: Any) -> None:
    letter = {"topic": "dead.shares", "partition": 3, "offset": 14, "reason": "no such type", "at": None}
    pages(api, "/dead-letters", [letter])
    assert "dead.shares/3/14" in run("deadletters", "list").out
    api.on("GET", "/dead-letters/dead.shares/3/14", api.reply(letter))
    assert run("deadletters", "show", "dead.shares/3/14", "--json").json == letter
    api.on("POST", "/dead-letters/dead.shares/3/14/replay", api.reply({}))
    assert run("deadletters", "replay", "dead.shares/3/14").code == 0
    wrong = run("deadletters", "show", "dead.shares")
    assert wrong.code == 1
    assert "TOPIC/PARTITION/OFFSET" in wrong.err


@pytest.mark.parametrize(("balanced", "code"), [(True, 0), (False, 1)])
def test_reconcile_ends_as_the_balance_is(run: Any, api: Any, balanced: bool, code: int) -> None:
    body = {"acknowledged": 3, "delivered": 2, "waiting": 1 if balanced else 0, "balanced": balanced}
    api.on("GET", "/reconcile", api.reply(body))
    result = run("reconcile")
    assert result.code == code
    assert "acknowledged  3" in result.out
    assert run("reconcile", "--json").json == body


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_audit_verify_ends_as_the_chain_is(run: Any, api: Any, ok: bool, code: int) -> None:
    broken = None if ok else {"partition": 2, "position": 7, "problem": "its hash differs"}
    api.on("GET", "/audit/verify", api.reply({"ok": ok, "records": 9, "first_break": broken}))
    result = run("audit", "verify")
    assert result.code == code
    assert ("its hash differs" in result.out) == (not ok)


def test_audit_export_passes_the_body_on(run: Any, api: Any) -> None:
    api.on("GET", "/audit/export", api.reply("<AuditMessages/>"))
    assert run("audit", "export", "--format", "fhir").out == "<AuditMessages/>"
    assert api.asked[-1].query == {"format": "fhir"}


def test_tail_prints_the_last_events_then_ends_or_follows(run: Any, api: Any) -> None:
    feed_events = [
        {"type": "imex.share.requested", "time": "2026-01-01T12:00:00Z", "data": {"share": f"s{n}"}}
        for n in range(5)
    ]

    def feed(asked: Any) -> Any:
        start = int(asked.query.get("after", 0))
        return api.reply(
            {"items": feed_events[start : start + 2], "next": str(min(start + 2, len(feed_events)))}
        )

    api.on("GET", "/events", feed)
    lines = run("events", "tail", "--no-follow", "--json", "-n", "3").out.splitlines()
    assert [json.loads(line) for line in lines] == feed_events[2:]
    assert (
        "share=s4"
        in run("events", "tail", "--no-follow", "--after", "4", "--type", "imex.share.requested").out
    )
    assert api.asked[-1].query["type"] == "imex.share.requested"


def test_a_follower_outlives_an_api_that_is_away_for_a_moment(
    run: Any, monkeypatch: pytest.MonkeyPatch, api: Any
) -> None:
    event = {"type": "imex.share.delivered", "data": {"share": "s1"}}
    told: list[Any] = [
        {"items": [], "next": "0"},
        {"items": [], "next": "0"},
        Unreachable("away"),
        Unreachable("away"),
        {"items": [event], "next": "1"},
        Failure("enough"),
    ]

    def get(_self: Api, _path: str, _params: Any) -> Any:
        answer = told.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(events, "POLL_S", 0.01)
    monkeypatch.setattr(Api, "get", get)
    result = run("events", "tail")
    assert "share=s1" in result.out
    assert result.err == "enough\n"


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "check IMEX_TOKEN"), (403, "may not do that"), (503, "is away"), (500, "Oops")],
)
def test_a_problem_is_told_with_what_to_do(run: Any, api: Any, status: int, words: str) -> None:
    api.on("GET", "/find", api.reply({"title": "Oops", "detail": "Said so.", "status": status}, status))
    result = run("find", "1")
    assert result.code == 1
    assert not result.out
    assert "Oops: Said so." in result.err
    assert words in result.err


def test_an_answer_that_is_no_problem_document_is_told_too(run: Any, api: Any) -> None:
    api.on("GET", "/find", api.reply("<html>", 502))
    assert "502" in run("find", "1").err


def test_without_a_stack_it_says_how_to_start_one(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMEX_HOME", str(tmp_path))
    for name in ("IMEX_API", "IMEX_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    result = run("find", "1")
    assert (result.code, "make up" in result.err) == (1, True)
    (tmp_path / "stack.json").write_text("{")
    assert "make up" in run("find", "1").err
    (tmp_path / "stack.json").write_text("{}")
    assert "not up yet" in run("find", "1").err
    monkeypatch.setenv("IMEX_API", "http://127.0.0.1:9/api/v1")
    assert "IMEX_TOKEN is not" in run("find", "1").err


def test_a_refused_connection_asks_whether_the_stack_is_up(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMEX_API", "http://127.0.0.1:9/api/v1")
    monkeypatch.setenv("IMEX_TOKEN", "x")
    result = run("reconcile")
    assert result.code == 1
    assert "Is the stack up?" in result.err
    assert "make up" in result.err


DELIVERY = {
    "id": "d1",
    "share": "s1",
    "study_uid": "1.2.3",
    "source": "RQM",
    "recipient": "RT3",
    "endpoint": "pacs",
    "priority": "routine",
    "state": "waiting",
    "outcome": None,
    "reason": "connection refused",
    "attempts": 1,
    "next_attempt_at": None,
    "expected": 2,
    "delivered": 0,
    "failed": 0,
    "expires_at": "2026-01-15T12:00:00Z",
    "paused": True,
    "paused_by": "kim",
    "paused_institution": "RT3",
    "paused_reason": "upgrade",
    "destination": "open",
    "tried": [
        {
            "number": 1,
            "started_at": "2026-01-01T12:00:00Z",
            "ended_at": "2026-01-01T12:00:01Z",
            "outcome": "failed",
            "reason": "connection refused",
            "confirmed": 0,
        }
    ],
    "asked": [
        {
            "at": "2026-01-01T12:00:02Z",
            "command": "pause",
            "actor": "kim",
            "institution": "RT3",
            "reason": "upgrade",
            "whole_destination": True,
            "from_endpoint": None,
        }
    ],
}


def test_a_delivery_is_shown_with_its_attempts_and_what_was_asked(run: Any, api: Any) -> None:
    api.on("GET", "/deliveries/d1", api.reply(DELIVERY))
    told = run("deliveries", "show", "d1").out
    for words in ("waiting, paused", "upgrade", "connection refused", "pause of the destination", "kim (RT"):
        assert words in told
    assert run("deliveries", "show", "d1", "--json").json == DELIVERY


def test_a_pause_is_of_one_delivery_or_of_a_whole_destination(run: Any, api: Any) -> None:
    api.on("POST", "/destinations/RT3/pacs/pause", api.reply({}, 202))
    api.on("POST", "/deliveries/d1/reroute", api.reply({}, 202))
    assert run("deliveries", "pause", "--destination", "RT3/pacs", "--reason", "upgrade").code == 0
    assert api.asked[-1].json == {"reason": "upgrade"}
    assert run("deliveries", "reroute", "d1", "--endpoint", "archive").code == 0
    assert api.asked[-1].json == {"reason": "", "endpoint": "archive"}
    for wrong in (["pause"], ["pause", "d1", "--destination", "RT3/pacs"], ["pause", "--destination", "RT3"]):
        answer = run("deliveries", *wrong)
        assert answer.code != 0
        assert "RT3/pacs" in answer.err or "--destination" in answer.err


def test_destinations_are_listed_with_why_nothing_goes(run: Any, api: Any) -> None:
    one = {"recipient": "RT3", "endpoint": "pacs", "state": "paused", "reason": "upgrade", "since": None,
           "by": "kim", "next_probe_at": None, "waiting": 7, "running": 0}  # fmt: skip
    api.on("GET", "/destinations", api.reply({"items": [one], "next": None}))
    told = run("deliveries", "destinations").out
    for words in ("RT3/pacs", "paused", "upgrade", "kim", "7"):
        assert words in told
