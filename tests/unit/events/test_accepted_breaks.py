"""Breaks of internal contracts that are accepted: each named, with its reason, and never a partner's."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from imex.schemas.__main__ import broken
from imex.schemas.accepted import Accepted, is_accepted, read, unacceptable

ROOT = Path(__file__).parents[3] / "schemas"


def entry(name: str) -> Accepted:
    return Accepted(types=(name,), path="/data/lane", change="new values ['x']", reason="r" * 20, adr="0029")


def test_what_is_committed_is_acceptable_and_has_its_record() -> None:
    accepted = read(ROOT)
    assert unacceptable(accepted) == []
    records = [path.name[:4] for path in (ROOT.parent / "docs/adr").glob("0*.md")]
    assert {one.adr for one in accepted} <= set(records)


def test_events_of_partners_are_never_broken() -> None:
    (problem,) = unacceptable([entry("imex.share.delivered")])
    assert "partners" in problem
    (problem,) = unacceptable([entry("imex.nothing.happened")])
    assert "no event" in problem


def test_an_entry_covers_one_change_of_the_events_that_it_names() -> None:
    accepted = [entry("imex.instance.received")]
    assert is_accepted("imex.instance.received/v1.json", "/data/lane: new values ['x']", accepted)
    assert not is_accepted("imex.instance.received/v1.json", "/data/lane: new values ['y']", accepted)
    assert not is_accepted("imex.instance.received.more/v1.json", "/data/lane: new values ['x']", accepted)


def test_new_values_may_be_accepted_one_by_one() -> None:
    one, other = (
        entry("imex.instance.received").model_copy(update={"change": f"new values {values}"})
        for values in (["x"], ["y", "z"])
    )
    found = "/data/lane: new values ['x', 'z']"
    assert is_accepted("imex.instance.received/v1.json", found, [one, other])
    assert not is_accepted("imex.instance.received/v1.json", found, [one])


def test_an_entry_without_a_reason_is_none(tmp_path: Path) -> None:
    (tmp_path / "accepted.yaml").write_text(
        "- {types: [imex.instance.received], path: /data/lane, change: removed, adr: '0029'}\n"
    )
    with pytest.raises(ValidationError):
        read(tmp_path)


def test_a_break_that_nobody_accepted_is_named(tmp_path: Path) -> None:
    committed = tmp_path / "events/imex.instance.received"
    committed.mkdir(parents=True)
    text = (ROOT / "events/imex.instance.received/v1.json").read_text()
    (committed / "v1.json").write_text(text.replace('"urgent",', ""))
    assert broken(tmp_path) == ["imex.instance.received/v1.json/data/lane: new values ['urgent']"]
