"""`imex corrections` and `imex subjects`: what is asked of the API, and what is said of its answer."""

from typing import Any

CORRECTION = "24930939-e6d6-51fd-88d4-4bcf02c4f965"
SHARE = {
    "share": "0f8b46ed-94a5-57f7-a055-5b520d86462a", "recipient": "RT3", "state": "notified", "reason": "",
    "notified_at": "2026-04-01T10:05:00Z", "outstanding_since": "2026-04-01T10:00:00Z",
    "acknowledged_at": None, "acknowledged_by": None, "remark": "",
}  # fmt: skip
RECALL = {
    "id": CORRECTION, "kind": "recall", "code": "113038", "title": "Incorrect Modality Worklist Entry",
    "reason": "", "whole": True, "instances": 120, "source": "RQM", "study_uid": "1.2.3",
    "at": "2026-04-01T10:00:00Z", "opened_by": "anna", "note_sop_instance_uid": "2.25.1",
    "concerned": [SHARE],
}  # fmt: skip
PLACE = {"service": "routing", "place": "routing.studies", "found": 2, "done": 0, "kept": 2, "why": ""}
REPORT = {
    "id": CORRECTION, "command": "report", "report": None, "actor": "admin", "reason": "",
    "at": "2026-04-01T10:00:00Z", "studies": 2, "under_way": 0, "complete": True, "waits_for": [],
    "places": [PLACE],
}  # fmt: skip


def test_a_study_or_instances_are_taken_back(run: Any, api: Any) -> None:
    api.on("POST", "/corrections", api.reply(RECALL, 201))
    options = ("1.2.3", "--source", "RQM", "--why", "wrong-patient")
    result = run("corrections", "recall", *options)
    assert all(word in result.out for word in (CORRECTION, "RT3", "notified", "outstanding since"))
    assert api.asked[-1].json == {
        "study_uid": "1.2.3", "source": "RQM", "why": "wrong-patient", "reason": ""
    }  # fmt: skip
    run("corrections", "reject", *options, "--instance", "1.2.3.4", "--instance", "1.2.3.5")
    assert api.asked[-1].json["instances"] == ["1.2.3.4", "1.2.3.5"]


def test_what_is_outstanding_is_listed_until_it_is_acknowledged(run: Any, api: Any) -> None:
    api.on("GET", "/corrections", api.reply({"items": [RECALL], "next": None}))
    result = run("corrections", "list", "--outstanding")
    assert "outstanding since" in result.out
    assert api.asked[-1].query["outstanding"] == "true"
    seen = {**SHARE, "acknowledged_at": "2026-04-02T10:00:00Z", "acknowledged_by": "ben"}
    api.on("POST", f"/corrections/{CORRECTION}/acknowledge", api.reply({**RECALL, "concerned": [seen]}))
    result = run("corrections", "acknowledge", CORRECTION, "--remark", "deleted", "--for", "RT3")
    assert "ben" in result.out
    assert api.asked[-1].json == {"remark": "deleted", "recipient": "RT3"}


def test_what_is_right_of_a_person_is_shown(run: Any, api: Any) -> None:
    person = {"wrong": {"patient_name": "DOE^JAN"}, "right": {"patient_name": "DOE^JANE", "sex": ""}}
    one = {**RECALL, "kind": "demographics", "title": None, "code": None, "person": person}
    api.on("GET", f"/corrections/{CORRECTION}", api.reply(one))
    result = run("corrections", "show", CORRECTION)
    assert "wrong: patient name DOE^JAN" in result.out
    assert "right: patient name DOE^JANE" in result.out


def test_a_report_says_what_was_found_and_what_kafka_holds(run: Any, api: Any) -> None:
    api.on("GET", f"/subjects/{CORRECTION}", api.reply(REPORT))
    result = run("subjects", "show", CORRECTION)
    assert all(word in result.out for word in ("2 studies", "routing.studies", "within 7 days"))


def test_an_erasure_says_what_is_kept_and_why(run: Any, api: Any) -> None:
    place = {**PLACE, "done": 1, "kept": 1, "why": "legal hold"}
    erased = {**REPORT, "command": "erase", "places": [place], "complete": False, "waits_for": ["audit"]}
    api.on("POST", f"/subjects/{CORRECTION}/erase", api.reply(erased, 202))
    result = run("subjects", "erase", CORRECTION, "--reason", "request 17", "--force")
    assert "legal hold" in result.out
    assert "Not answered yet: audit" in result.out
    assert api.asked[-1].json == {"reason": "request 17", "force": True}
