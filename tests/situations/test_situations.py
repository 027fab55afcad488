"""Runs the situations of the files beside it: see README.md for what they say."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from imex.directory import DirectoryIndex, Marks, Priors, StudyFacts, parse
from imex.directory.cel import SeriesCondition
from imex.sharing.decide import consider
from imex.sharing.decisions import Addressed, Background, Question
from imex.sharing.explained import explain
from imex.sharing.priors import Earlier, choose
from imex.sharing.recorded import Answer, Decided, KnownShare, RecordedQuestion, replay

HERE = Path(__file__).parent
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
MARKS = {"yes": True, "no": False, "unknown": None}
AT_LEAST = 150

Case = dict[str, Any]


def _read(file: Path) -> Any:
    return yaml.load(file.read_text(), Loader=yaml.BaseLoader)


def _cases() -> Iterator[Any]:
    for file in sorted(HERE.glob("*.yaml")):
        if file.name != "network.yaml":
            theme = _read(file)
            for case in theme["cases"]:
                yield pytest.param(theme, case, id=f"{file.stem}: {case['case']}")


ALL = list(_cases())


def test_there_are_enough_and_none_is_told_twice() -> None:
    names = [one.id for one in ALL]
    assert len(names) >= AT_LEAST
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("theme", "case"), ALL)
def test_situation(theme: Case, case: Case) -> None:
    if "required_series" in case:
        _series(case)
    elif "travel" in case:
        _priors(case)
    else:
        _decision(theme, case)


def _decision(theme: Case, case: Case) -> None:
    index = _index(_written(theme, case))
    question = _question(case, index.version)
    explained = explain(index, question)
    answer = explained.answer
    assert [_sentence(one) for one in answer.decided] == _listed(case["then"])
    words = "\n".join(_reasons(explained.rules, answer))
    for expected in _listed(case.get("because", [])):
        assert expected in words
    for name, value in case.get("with", {}).items():
        assert _texts(answer.decided[0].terms.get(name)) == value, name
    # what is decided is a function of the question: recorded and asked again, it is the same
    assert replay(index, RecordedQuestion.of(question, index.version)) == answer
    assert Answer.of(consider(index, question)) == answer


def _series(case: Case) -> None:
    series = [{**one, "instances": int(one.get("instances", 1))} for one in case["series"]]
    complete = [{"modality": "", "description": "", "body_part": "", **one} for one in series]
    assert {True: "yes", False: "no", None: "unknown"}[
        SeriesCondition(case["required_series"]).holds(complete)
    ] == case["whole"]


def _priors(case: Case) -> None:
    current = _earlier({"uid": "current", **case["study"]})
    known = [_earlier(one) for one in case["earlier"]]
    chosen = choose(Priors.model_validate(case["priors"]), current, known)
    assert [one.study_uid for one in chosen] == _listed(case["travel"])


def _earlier(said: Case) -> Earlier:
    return Earlier(said["uid"], date.fromisoformat(said["on"]), frozenset(said["modalities"]))


@cache
def _index(text: str) -> DirectoryIndex:
    return DirectoryIndex(parse(text))


def _written(theme: Case, case: Case) -> str:
    network = _read(HERE / "network.yaml")
    own = {name: case.get(name, theme.get(name, [])) for name in ("agreements", "rules")}
    text: str = yaml.safe_dump({**network, **own}, sort_keys=False)
    return text


def _question(case: Case, version: str) -> Question:
    study, known = case["study"], case.get("known", {})
    sent_to = _listed(study.get("sent_to", []))
    at = datetime.fromisoformat(case["at"]).replace(tzinfo=UTC) if "at" in case else NOON
    asked = case.get("asked")
    facts = StudyFacts(
        source=study["from"],
        modalities=frozenset(_listed(study.get("modalities", "CT"))),
        sop_classes=frozenset(_listed(study.get("sop_classes", []))),
        body_parts=frozenset(_listed(study.get("body_parts", []))),
        description=study.get("description", ""),
        series_descriptions=frozenset(_listed(study.get("series", []))),
        called_ae=sent_to[0] if sent_to else study.get("called_ae", "IMEX"),
    )
    return Question(
        study_uid="1.2.3",
        facts=facts,
        at=at,
        passage=int(case.get("passage", 1)),
        standing=not sent_to and asked is None and "nothing_new" not in study,
        recipients=frozenset(sent_to),
        background=Background(
            Marks(
                opted_out=MARKS[known.get("opted_out", "no")], sensitive=MARKS[known.get("sensitive", "no")]
            ),
            passed_through=frozenset(_listed(known.get("came_from", []))),
            held_by=frozenset(_listed(known.get("held_by", []))),
        ),
        shares=tuple(
            _share(one, version).share(facts.source, "1.2.3", at) for one in known.get("shares", [])
        ),
        by_hand=asked and Addressed(**{"purpose": "direct-care", "priority": "routine", **_hand(asked)}),
    )


def _hand(asked: Case) -> Case:
    names = {"to": "recipient", "for": "purpose"}
    return {"origin": "command"} | {names.get(name, name): value for name, value in asked.items()}


def _share(said: Case, version: str) -> KnownShare:
    names = {"to": "recipient", "for": "purpose", "of_version": "directory_version"}
    usual = {
        "purpose": "direct-care",
        "episode": "1",
        "passage": "1",
        "priority": "routine",
        "origin": "rule",
        "parts": "0",
        "directory_version": version,
    }
    return KnownShare.model_validate(usual | {names.get(name, name): value for name, value in said.items()})


def _sentence(one: Decided) -> str:
    """A decision as the files say it."""
    verb = {
        "share": "shared",
        "refuse": "refused",
        "raise": "raised",
        "withhold": "withheld",
        "rest": "rests now",
        "spare": "not sent",
    }[one.action]
    by = (
        f"by rule {one.rule}"
        if one.rule
        else {"called": "as called", "command": "by hand"}.get(one.origin, "")
    )
    deidentify = one.terms.get("deidentify")
    parts = [
        f"{one.recipient} for {one.purpose}: {verb} {by}".rstrip(),
        f" under {one.agreement}" if one.agreement and one.lets_it_go else "",
        f", {one.priority}" if one.priority != "routine" else "",
        f", in the place of {one.alternate_of}" if one.alternate_of else "",
        f", de-identified for {deidentify['project']}" if isinstance(deidentify, dict) else "",
        ", once it is accepted" if one.terms.get("asks_recipient") else "",
        ", undeliverable" if one.terms.get("undeliverable") else "",
        f", episode {one.episode}" if one.action in {"share", "refuse"} and one.episode != 1 else "",
    ]
    return "".join(parts)


def _reasons(rules: Any, answer: Answer) -> Iterator[str]:
    for rule in rules:
        yield from rule.reasons
        yield from (alternate.words for alternate in rule.alternates)
    for one in answer.decided:
        yield one.reason
        yield str(one.terms.get("because", ""))
        yield str(one.terms.get("undeliverable", ""))


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _texts(value: Any) -> Any:
    """As the files have it: every scalar as text."""
    if isinstance(value, dict):
        return {name: _texts(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_texts(inside) for inside in value]
    return value if value is None else str(value).lower() if isinstance(value, bool) else str(value)
