"""`imex inbox`: what is asked of the API, what is said of its answer, and what is left on disk."""

from pathlib import Path
from typing import Any

SHARE = "24930939-e6d6-51fd-88d4-4bcf02c4f965"
ENTRY = {
    "id": SHARE, "standing": "there", "source": "RQM", "recipient": "RT3", "purpose": "direct-care",
    "clinician": None, "priority": "urgent", "state": "delivered", "reason": "", "modalities": ["CT"],
    "study_uid": "1.2.3", "description": "CT HEAD", "study_date": "20260305", "accession": "A1",
    "deidentified": False, "images": 120, "bytes": 63_200_000, "requested_at": "2026-04-01T10:00:00Z",
    "arrived_at": "2026-04-01T10:05:00Z",
}  # fmt: skip


def test_what_is_there_is_listed(run: Any, api: Any) -> None:
    api.on("GET", "/inbox", api.reply({"items": [ENTRY], "next": None}))
    result = run("inbox", "list")
    assert all(word in result.out for word in (SHARE, "RQM", "CT HEAD", "urgent", "120"))
    assert api.asked[-1].query["standing"] == "there"


def test_what_waits_is_accepted_or_refused(run: Any, api: Any) -> None:
    for command, state in (("accept", "collecting"), ("refuse", "refused")):
        api.on("POST", f"/shares/{SHARE}/{command}", api.reply({"id": SHARE, "state": state}))
    assert "collecting" in run("inbox", "accept", SHARE).out
    assert "refused" in run("inbox", "refuse", SHARE, "--reason", "not ours").out
    assert api.asked[-1].json == {"reason": "not ours"}
    assert run("inbox", "refuse", SHARE).code == 2, "whoever sent it is to know why"


def test_a_study_is_downloaded_into_a_file_of_its_own(run: Any, api: Any, tmp_path: Path) -> None:
    api.on("GET", f"/shares/{SHARE}/archive", api.reply("PK and so on"))
    target = tmp_path / "study.zip"
    assert run("inbox", "download", SHARE, "--output", str(target)).code == 0
    assert target.read_text() == "PK and so on"
    again = run("inbox", "download", SHARE, "--output", str(target))
    assert again.code == 1 and "there already" in again.err


def test_what_cannot_be_read_leaves_nothing_behind(run: Any, api: Any, tmp_path: Path) -> None:
    problem = {"title": "Not to be read any more", "status": 410, "detail": "This share was taken back."}
    api.on("GET", f"/shares/{SHARE}/archive", api.reply(problem, 410))
    result = run("inbox", "download", SHARE, "--output", str(tmp_path / "study.zip"))
    assert result.code == 1 and "taken back" in result.err
    assert list(tmp_path.iterdir()) == []
