"""A recorded question, asked again, has the recorded answer; a changed directory's differs in words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.directory import DirectoryIndex, Marks, Priors, StudyFacts, parse
from imex.sharing.decide import consider
from imex.sharing.decisions import UNMARKED, Addressed, Background, Question
from imex.sharing.differences import combined, difference, replay_study
from imex.sharing.model import Share
from imex.sharing.priors import along
from imex.sharing.recorded import Answer, KnownShare, OpenPart, PersonalPart, RecordedQuestion, replay

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)

DIRECTORY = """
institutions:
  - {code: RQM, name: A, kind: nhs}
  - {code: RT3, name: B, kind: nhs, endpoints: [{name: pacs, type: dicom, ae_title: B, host: h, port: 104, \
accepts: {hours: "08:00-18:00"}}]}
  - {code: RW6, name: C, kind: nhs, endpoints: [{name: desk, type: inbox}]}
  - {code: UNI, name: D, kind: ai, endpoints: [{name: desk, type: inbox}]}
agreements:
  - {id: a1, from: RQM, to: [RT3, RW6], purposes: [direct-care], legal_basis: basis, modalities: [CT, MR]}
  - {id: a2, from: RQM, to: UNI, purposes: [research], legal_basis: basis, sensitive: true, \
deidentify: {project: LUNG}}
  - {id: a3, from: RQM, to: RT3, purposes: [mdt], legal_basis: basis, clinician_required: true}
rules:
  - {id: r1, match: {source: RQM, modality: CT}, to: [RT3], alternates: [{if: closed, to: RW6}]}
  - {id: r2, match: {source: RQM, description: stroke}, to: [RT3], priority: emergency}
  - {id: r3, match: {source: RQM}, to: [UNI], purpose: research, unless_held: true}
  - {id: r4, when: 'source == "RQM" && study.series_descriptions.exists(d, d.contains("THIN"))', to: RT3, \
purpose: mdt, clinician: Dr Ada, quiet_s: 0}
"""


def index_of(text: str = DIRECTORY) -> DirectoryIndex:
    return DirectoryIndex(parse(text))


def question(**more: Any) -> Question:
    values = {
        "study_uid": "1.2.3",
        "facts": StudyFacts(
            "RQM", frozenset({"CT"}), frozenset({"1.2.840.10008.5.1.4.1.1.2"}), description="Stroke call"
        ),
        "at": NOW,
        "passage": 1,
        "standing": True,
        "background": UNMARKED,
        **more,
    }
    return Question(**values)


def known(**more: Any) -> Share:
    values = {
        "recipient": "RT3",
        "purpose": "direct-care",
        "episode": 1,
        "passage": 1,
        "priority": "routine",
        "origin": "rule",
        "state": "collecting",
        "parts": 0,
        "directory_version": "v",
        "rule": "r1",
        "agreement": "a1",
        **more,
    }
    return KnownShare(**values).share("RQM", "1.2.3", NOW)


shares = st.lists(
    st.builds(
        known,
        recipient=st.sampled_from(["RT3", "RW6", "UNI"]),
        purpose=st.sampled_from(["direct-care", "mdt", "research"]),
        episode=st.integers(1, 2),
        passage=st.integers(1, 2),
        priority=st.sampled_from(["routine", "urgent", "emergency"]),
        state=st.sampled_from(["collecting", "delivered", "refused", "revoked", "requested"]),
        parts=st.integers(0, 1),
        agreement=st.sampled_from([None, "a1", "a9"]),
    ),
    max_size=4,
    unique_by=lambda share: share.id,
)
questions = st.builds(
    question,
    facts=st.builds(
        StudyFacts,
        source=st.sampled_from(["RQM", "RT3"]),
        modalities=st.frozensets(st.sampled_from(["CT", "MR", "SR"])),
        description=st.sampled_from(["", "STROKE", "hip"]),
        series_descriptions=st.frozensets(st.sampled_from(["THIN", "LOC"])),
        called_ae=st.sampled_from(["IMEX", "RT3"]),
    ),
    at=st.integers(0, 48).map(lambda hours: NOW + timedelta(hours=hours)),
    passage=st.integers(1, 3),
    standing=st.booleans(),
    recipients=st.frozensets(st.sampled_from(["RT3", "RW6"])),
    background=st.builds(
        Background,
        marks=st.builds(
            Marks,
            opted_out=st.sampled_from([None, True, False]),
            sensitive=st.sampled_from([None, True, False]),
        ),
        passed_through=st.frozensets(st.sampled_from(["RT3", "RW6"])),
        held_by=st.frozensets(st.sampled_from(["RT3", "UNI"])),
    ),
    shares=shares.map(tuple),
    by_hand=st.none()
    | st.just(Addressed("RT3", "mdt", "urgent", "command", endpoint="pacs", clinician="Dr Grace"))
    | st.just(along(Addressed("UNI", "research", "routine", "rule", rule="r1", priors=Priors(count=2)))),
)


@given(asked=questions)
def test_a_recorded_question_replayed_gives_the_recorded_answer(asked: Question) -> None:
    index = index_of()
    answer = Answer.of(consider(index, asked))
    recorded = RecordedQuestion.of(asked, index.version)
    kept = RecordedQuestion(
        open=OpenPart.model_validate_json(recorded.open.model_dump_json()),
        personal=PersonalPart.model_validate_json(recorded.personal.model_dump_json()),
    )
    assert kept == recorded
    assert RecordedQuestion.of(kept.question(), index.version) == kept
    assert replace(kept.question(), shares=()) == replace(asked, shares=())
    assert Answer.model_validate_json(answer.model_dump_json()) == answer
    assert replay(index_of(), kept) == answer


@given(asked=questions)
def test_the_open_part_and_the_answer_hold_none_of_the_studys_texts(asked: Question) -> None:
    index = index_of()
    written = RecordedQuestion.of(asked, index.version).open.model_dump_json()
    written += Answer.of(consider(index, asked)).model_dump_json()
    assert all(text not in written for text in ("STROKE", "hip", "THIN", "LOC"))


def test_without_its_personal_part_a_question_fails_closed() -> None:
    recorded = RecordedQuestion.of(question(), "v")
    erased = recorded.model_copy(update={"personal": PersonalPart()})
    before, after = replay(index_of(), recorded), replay(index_of(), erased)
    assert [one.action for one in before.decided] == ["share", "share"]
    assert [one.action for one in after.decided] == ["refuse", "refuse"]
    assert "could not be looked up" in after.decided[0].reason


def asked_of(text: str, *questions: Question) -> Answer:
    recorded = [RecordedQuestion.of(one, "v") for one in questions]
    return combined(replay_study(index_of(text), recorded))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("priority: emergency", "priority: urgent", ["RT3 for direct-care: priority emergency → urgent"]),
        (
            "{id: r2, match: {source: RQM, description: stroke}, to: [RT3]",
            "{id: r2, match: {source: RQM, description: stroke}, to: [RW6]",
            [
                "RT3 for direct-care: rule r2 → r1, priority emergency → routine",
                "RW6 for direct-care: would be shared (rule r2, agreement a1, emergency)",
            ],
        ),
        (
            "modalities: [CT, MR]",
            "modalities: [MR]",
            [
                "RT3 for direct-care: was shared (rule r2, agreement a1, emergency); would be refused: "
                "no agreement covers RQM to RT3 for direct-care: agreement a1 does not include CT"
                "; agreement a3 is for mdt only and asks for a named clinician at the recipient"
            ],
        ),
        (
            "project: LUNG",
            "project: HEART",
            ["UNI for research: de-identification project LUNG → project HEART"],
        ),
        (
            "{id: r3, match: {source: RQM}",
            "{id: r3, match: {source: RT3}",
            ["UNI for research: was shared (rule r3, agreement a2, routine); nothing would ask for it"],
        ),
        ("legal_basis: basis", "legal_basis: other", []),
    ],
)
def test_what_a_changed_directory_decides_otherwise_is_told_in_words(
    old: str, new: str, words: list[str]
) -> None:
    before = asked_of(DIRECTORY, question(at=NOW))
    after = asked_of(DIRECTORY.replace(old, new), question(at=NOW))
    assert list(difference(before, after)) == words


def test_a_later_question_is_replayed_with_the_shares_that_the_directory_would_have_made() -> None:
    first = question(facts=StudyFacts("RQM", frozenset({"CT"})))
    made = (known(), known(recipient="UNI", purpose="research", rule="r3", agreement="a2"))
    second = question(facts=StudyFacts("RQM", frozenset({"CT"}), description="stroke"), shares=made)
    changed = DIRECTORY.replace("to: [RT3], alternates: [{if: closed, to: RW6}]", "to: [RW6]")
    before, after = asked_of(DIRECTORY, first, second), asked_of(changed, first, second)
    assert [(one.recipient, one.action) for one in before.decided] == [("RT3", "raise"), ("UNI", "share")]
    assert [(one.recipient, one.action) for one in after.decided] == [
        ("RW6", "share"),
        ("UNI", "share"),
        ("RT3", "share"),
    ]
    assert difference(before, after) == (
        "RW6 for direct-care: would be shared (rule r1, agreement a1, routine)",
    )
