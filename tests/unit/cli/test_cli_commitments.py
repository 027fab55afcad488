"""Storage commitments that senders asked for, as the command shows them."""

from typing import Any

ONE = {
    "id": "0b0e9a52-98e0-5b1c-9d55-2f6a4f3f9a01",
    "institution": "RQM",
    "ae_title": "RQM_PACS",
    "transaction_uid": "2.25.1",
    "state": "reported",
    "instances": 2,
    "committed": 1,
    "refused": 1,
    "reason": "",
    "asked_at": "2026-01-01T12:00:00Z",
    "due_at": "2026-01-02T12:00:00Z",
    "decided_at": "2026-01-01T12:00:02Z",
    "reported_at": "2026-01-01T12:00:03Z",
}
LINES = [
    {
        "sop_class_uid": "1.2",
        "sop_instance_uid": "1.2.3",
        "answer": "committed",
        "failure_reason": None,
        "reason": "",
    },
    {
        "sop_class_uid": "1.2",
        "sop_instance_uid": "1.2.4",
        "answer": "refused",
        "failure_reason": "0112",
        "reason": "it was not received from you",
    },
]


def test_a_list_has_counts_and_an_open_one_none(run: Any, api: Any) -> None:
    waiting = {**ONE, "state": "open", "committed": None, "refused": None, "reason": "2 of 2 instances: …"}
    api.on("GET", "/commitments", api.reply({"items": [ONE, waiting], "next": None}))
    first, second = run("commitments", "list").out.splitlines()[-2:]
    assert "RQM RQM_PACS" in first
    assert "reported" in first
    assert "2 of 2 instances" in second


def test_one_says_why_each_instance_was_refused(run: Any, api: Any) -> None:
    api.on("GET", f"/commitments/{ONE['id']}", api.reply({**ONE, "lines": LINES}))
    out = run("commitments", "show", ONE["id"]).out
    assert "2.25.1" in out
    assert "0112" in out
    assert "it was not received from you" in out
