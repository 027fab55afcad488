"""What holds of every decision, whatever the directory says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from imex.directory import (
    LEGAL_DUTIES,
    PURPOSES_OF_CARE,
    Agreement,
    Directory,
    DirectoryIndex,
    Marks,
    StudyFacts,
    firing_rules,
    matching_rules,
)
from imex.directory.index import local_time
from imex.sharing.decide import consider, resting
from imex.sharing.decisions import Addressed, Background, Open, Outcome, Question
from imex.sharing.differences import combined, difference, replay_study
from imex.sharing.model import Share
from imex.sharing.passage import passed_through
from imex.sharing.recorded import Answer, Decided, KnownShare, RecordedQuestion

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
CODES = ("A", "B", "C", "D")
PURPOSES = ("direct-care", "mdt", "research", "forensic", "odd")
MODALITIES = ("CT", "MR", "SR")

codes = st.sampled_from(CODES)
institutions = [
    {
        "code": code,
        "name": code,
        "kind": "nhs" if code in "AB" else "ai",
        "endpoints": [
            {
                "name": "pacs",
                "type": "dicom",
                "ae_title": code,
                "host": "h",
                "port": 104,
                "accepts": {"hours": "08:00-20:00"} if code in "BC" else {},
            }
        ],
    }
    for code in CODES
]
targets = st.lists(st.sampled_from([*CODES, "NET"]), min_size=1, max_size=2, unique=True)


def optional(**choices: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=choices)


agreements = st.builds(
    lambda sources, to, purposes, more: {
        "from": sources,
        "to": to,
        "purposes": purposes,
        "legal_basis": "law",
        **more,
    },
    targets,
    targets,
    st.lists(st.sampled_from(PURPOSES), min_size=1, max_size=3, unique=True),
    optional(
        modalities=st.lists(st.sampled_from(MODALITIES), min_size=1, unique=True),
        valid_from=st.sampled_from(["2026-05-01", "2026-05-05"]),
        valid_until=st.sampled_from(["2026-05-06", "2026-05-07"]),
        clinician_required=st.booleans(),
        sensitive=st.booleans(),
        opt_out=st.sampled_from(["applies", "exempt"]),
        deidentify=st.just({"project": "P"}),
    ),
)
matches = optional(
    source=targets,
    source_kind=st.just("ai"),
    modality=st.lists(st.sampled_from(MODALITIES), min_size=1, max_size=2, unique=True),
    body_part=st.sampled_from(["HEAD", "CHEST"]),
    description=st.just("stroke"),
    called_ae=st.just("IMEX"),
)
expressions = st.sampled_from(
    [
        'source == "A" && "CT" in study.modalities',
        '"CT" in study.modalities && "B" == source',
        'source == "A" || source_kind == "ai"',
        'study.description.contains("STROKE") ? source == "A" : source == "B"',
        '(source == "A") && study.series_descriptions.size() > 0',
        'source == "A" && study.modalities.exists(m, m == "MR" || m == "SR")',
    ]
)
conditions = st.one_of(
    matches.filter(bool).map(lambda match: {"match": match}),
    expressions.map(lambda when: {"when": when}),
    st.builds(lambda match, when: {"match": match, "when": when}, matches.filter(bool), expressions),
)
rules = st.builds(
    lambda condition, to, purpose, priority, more: {
        **condition,
        "to": to,
        "purpose": purpose,
        "priority": priority,
        **more,
    },
    conditions,
    targets,
    st.sampled_from(PURPOSES),
    st.sampled_from(["routine", "urgent", "emergency"]),
    optional(
        clinician=st.just("Dr X"),
        unless_held=st.booleans(),
        alternates=st.lists(
            st.builds(
                lambda if_, to: {"if": if_, "to": to},
                st.sampled_from(["closed", "unaccepted", "uncovered"]),
                targets,
            ),
            min_size=1,
            max_size=2,
        ),
    ),
)


def numbered(name: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": f"{name}{number}", **entry} for number, entry in enumerate(entries)]


directories = st.builds(
    lambda agreed, standing: {
        "institutions": institutions,
        "groups": [{"code": "NET", "name": "N", "members": ["A", "B", "C"]}],
        "agreements": numbered("a", agreed),
        "rules": numbered("r", standing),
    },
    st.lists(agreements, max_size=6),
    st.lists(rules, max_size=6),
)

facts = st.builds(
    StudyFacts,
    source=codes,
    modalities=st.frozensets(st.sampled_from(MODALITIES)),
    body_parts=st.frozensets(st.sampled_from(["HEAD", "CHEST"])),
    sop_classes=st.frozensets(st.just("1.2.840.10008.5.1.4.1.1.2")),
    description=st.sampled_from(["", "STROKE CALL"]),
    series_descriptions=st.frozensets(st.just("THIN")),
    called_ae=st.just("IMEX"),
)
known = st.builds(
    lambda version, **more: KnownShare(directory_version=version, passage=1, **more).share("A", "1.2", NOON),
    st.sampled_from(["older", "newer"]),
    recipient=codes,
    purpose=st.sampled_from(PURPOSES),
    episode=st.integers(1, 2),
    priority=st.sampled_from(["routine", "urgent"]),
    origin=st.sampled_from(["rule", "command"]),
    state=st.sampled_from(["requested", "collecting", "delivering", "delivered", "failed", "refused"]),
    parts=st.integers(0, 1),
    rule=st.sampled_from(["r0", "r1"]),
    agreement=st.sampled_from([None, "a0", "a1", "a2"]),
)
marks = st.sampled_from([None, True, False])
questions = st.builds(
    Question,
    study_uid=st.just("1.2"),
    facts=facts,
    at=st.integers(0, 96).map(lambda hours: NOON + timedelta(hours=hours)),
    passage=st.integers(1, 2),
    standing=st.booleans(),
    recipients=st.frozensets(st.sampled_from([*CODES, "NET"]), max_size=2),
    background=st.builds(
        Background,
        marks=st.builds(Marks, opted_out=marks, sensitive=marks),
        passed_through=st.frozensets(codes, max_size=2),
        held_by=st.frozensets(codes, max_size=2),
    ),
    shares=st.lists(known, max_size=3, unique_by=lambda share: share.id).map(tuple),
    by_hand=st.none()
    | st.builds(
        Addressed,
        recipient=codes,
        purpose=st.sampled_from(PURPOSES),
        priority=st.just("routine"),
        origin=st.just("command"),
        clinician=st.sampled_from([None, "Dr X"]),
    ),
)


def index_of(document: dict[str, Any]) -> DirectoryIndex:
    return DirectoryIndex(Directory.model_validate(document), version="v")


def decide(index: DirectoryIndex, question: Question) -> Answer:
    return Answer.of(consider(index, question))


def allows(agreement: Agreement, index: DirectoryIndex, question: Question, one: Decided) -> bool:
    """An agreement's own words, put together anew."""
    day, background = local_time(question.at).date(), question.background
    about_opt_out = agreement.opt_out or (
        "exempt" if one.purpose in PURPOSES_OF_CARE | LEGAL_DUTIES else "applies"
    )
    return all(
        (
            question.facts.source in index.members(agreement.from_),
            one.recipient in index.members(agreement.to),
            one.purpose in agreement.purposes,
            agreement.valid_from is None or agreement.valid_from <= day,
            agreement.valid_until is None or day <= agreement.valid_until,
            agreement.modalities is None or question.facts.modalities <= set(agreement.modalities),
            not agreement.clinician_required or "clinician" in one.terms,
            agreement.sensitive or background.marks.sensitive is False,
            about_opt_out == "exempt" or background.marks.opted_out is False,
        )
    )


def may_go_on(share: Share, question: Question) -> bool:
    """Whether anything of a share could still leave; what was delivered goes on only with what is new.

    What failed with something handed over may be tried again.
    """
    asks = question.standing or question.recipients or question.by_hand
    open_still = share.live or (share.state == "failed" and share.parts > 0)
    return open_still and share.agreement is not None and bool(share.state != "delivered" or asks)


@given(directories, questions)
def test_without_an_agreement_nothing_leaves(document: dict[str, Any], question: Question) -> None:
    answer = decide(index_of({**document, "agreements": []}), question)
    assert not [one for one in answer.decided if one.lets_it_go]
    assert all("agreement" in one.reason for one in answer.decided if one.action == "refuse")
    held = [one for one in answer.decided if one.action == "withhold"]
    assert len(held) == len([share for share in question.shares if may_go_on(share, question)])


@settings(max_examples=120)
@given(directories, questions)
def test_what_is_let_go_an_agreement_allows_by_its_own_words(
    document: dict[str, Any], question: Question
) -> None:
    index = index_of(document)
    agreed = {one.id: one for one in index.directory.agreements}
    for one in decide(index, question).decided:
        between = [agreement for agreement in agreed.values() if allows(agreement, index, question, one)]
        if one.action == "share":
            assert one.agreement == between[0].id, "the first that allows it"
            assert ("deidentify" in one.terms) == (between[0].deidentify is not None)
        elif one.action == "refuse":
            assert not between or one.recipient == question.facts.source
        elif one.action == "rest":
            assert one.agreement in {agreement.id for agreement in between}


@given(directories, questions, st.integers(0, 5))
def test_once_an_agreement_is_revoked_nothing_further_leaves_by_it(
    document: dict[str, Any], question: Question, number: int
) -> None:
    revoked = f"a{number}"
    kept = [one for one in document["agreements"] if one["id"] != revoked]
    outcome = consider(index_of({**document, "agreements": kept}), question)
    answer = Answer.of(outcome)
    assert not [one for one in answer.decided if one.lets_it_go and one.agreement == revoked]
    by_it = {
        share.id for share in question.shares if may_go_on(share, question) and share.agreement == revoked
    }
    ended = {one.share.id for one in outcome.withheld}
    carried_on = {one.share.id for one in outcome.rested}
    assert by_it <= ended | carried_on


@given(directories, questions, st.randoms(use_true_random=False))
def test_a_decision_depends_on_nothing_but_the_question_and_the_version(
    document: dict[str, Any], question: Question, chance: Any
) -> None:
    index = index_of(document)
    answer = decide(index, question)
    assert decide(index, question) == answer
    shares = list(question.shares)
    chance.shuffle(shares)
    again = replace(
        question,
        shares=tuple(shares),
        recipients=frozenset(sorted(question.recipients, reverse=True)),
        facts=replace(question.facts, modalities=frozenset(sorted(question.facts.modalities, reverse=True))),
    )
    reordered = decide(index_of(document), again)
    assert sorted(map(str, reordered.decided)) == sorted(map(str, answer.decided))


@given(directories, questions)
def test_entries_about_others_change_nothing(document: dict[str, Any], question: Question) -> None:
    more = {
        **document,
        "institutions": [
            *document["institutions"],
            {"code": "X", "name": "X", "kind": "nhs"},
            {"code": "Y", "name": "Y", "kind": "nhs"},
        ],
        "groups": [{"code": "XY", "name": "XY", "members": ["X", "Y"]}, *document["groups"]],
        "agreements": [
            {"id": "x", "from": "XY", "to": CODES, "purposes": PURPOSES, "legal_basis": "law"},
            *document["agreements"],
        ],
        "rules": [
            {"id": "x", "match": {"source": ["X", "Y"]}, "to": CODES, "priority": "emergency"},
            *document["rules"],
        ],
    }
    assert decide(index_of(more), question) == decide(index_of(document), question)


@settings(max_examples=120)
@given(directories, facts)
def test_the_rules_found_by_the_index_are_those_that_match(
    document: dict[str, Any], study: StudyFacts
) -> None:
    index = index_of(document)
    found = [filed.rule.id for filed in firing_rules(index, study)]
    assert found == [one.rule.id for one in matching_rules(index, study) if one.matched]


@given(directories, facts)
def test_a_study_that_is_passed_on_by_rules_returns_to_nobody_and_comes_to_an_end(
    document: dict[str, Any], study: StudyFacts
) -> None:
    index = index_of(document)
    legs: list[tuple[str, str]] = []
    shares: dict[str, list[Share]] = {code: [] for code in CODES}
    waiting = [study.source]
    turns = 0
    while waiting:
        turns += 1
        assert turns <= len(CODES) ** 3, "it goes round in circles"
        source = waiting.pop(0)
        been = passed_through(source, legs)
        question = Question(
            "1.2",
            replace(study, source=source),
            NOON,
            passage=1,
            standing=True,
            background=Background(Marks(False, False), passed_through=been),
            shares=tuple(shares[source]),
        )
        for decision in consider(index, question).planned:
            if isinstance(decision, Open) and decision.judgement.covered:
                to = decision.addressed.recipient
                assert to not in been
                assert to != source
                made = KnownShare(
                    recipient=to,
                    purpose=decision.addressed.purpose,
                    episode=decision.episode,
                    passage=1,
                    priority=decision.addressed.priority,
                    origin="rule",
                    state="delivered",
                    parts=1,
                    directory_version="v",
                    rule=decision.addressed.rule,
                    agreement=decision.judgement.agreement,
                )
                shares[source].append(made.share(source, "1.2", NOON))
                legs.append((source, to))
                waiting.append(to)


steps = st.lists(
    st.tuples(
        questions,
        st.sampled_from(["asked", "held"]),
        st.lists(
            st.sampled_from(["collecting", "delivering", "delivered", "failed", "cancelled"]), min_size=9
        ),
    ),
    min_size=1,
    max_size=4,
)


@given(directories, steps)
def test_a_study_replayed_on_the_directory_that_decided_it_is_decided_as_it_was(
    document: dict[str, Any], story: list[Any]
) -> None:
    index = index_of(document)
    source = story[0][0].facts.source
    real: dict[Any, Share] = {}
    recorded: list[RecordedQuestion] = []
    answers: list[Answer] = []
    for number, (template, kind, fates) in enumerate(story):
        asked = replace(
            template,
            facts=replace(template.facts, source=source),
            shares=tuple(real.values()),
            passage=number // 2 + 1,
        )
        if kind == "held":
            asked = replace(asked, standing=False, recipients=frozenset(), by_hand=None)
        outcome = consider(index, asked)
        recorded.append(RecordedQuestion.of(asked, index.version))
        answers.append(Answer.of(outcome))
        carry_out(real, asked, outcome)
        for (key, share), fate in zip(list(real.items()), fates, strict=False):
            if share.live and share.agreement is not None:
                real[key] = replace(share, state=fate, parts=int(fate in {"delivering", "delivered"}))
    replayed = replay_study(index, recorded)
    assert replayed == tuple(answers)
    assert difference(combined(answers), combined(replayed)) == ()


def carry_out(real: dict[Any, Share], asked: Question, outcome: Outcome) -> None:
    """As routing does it."""
    for one in outcome.withheld:
        real[one.share.id] = replace(one.share, state="revoked" if one.share.parts else "refused")
    for rest in outcome.rested:
        real[rest.share.id] = resting(rest.share, rest.judgement)
    for decision in outcome.planned:
        wish = decision.addressed
        if isinstance(decision, Open):
            made = KnownShare(
                recipient=wish.recipient,
                purpose=wish.purpose,
                episode=decision.episode,
                passage=asked.passage,
                priority=wish.priority,
                origin=wish.origin,
                state="collecting" if decision.judgement.covered else "refused",
                parts=0,
                directory_version="v",
                rule=wish.rule,
                agreement=decision.judgement.agreement,
                clinician=wish.clinician,
                alternate_of=wish.alternate_of,
                deidentified=decision.judgement.deidentify is not None,
            ).share(asked.facts.source, "1.2", NOON)
            real[made.id] = made
        else:
            real[decision.share.id] = replace(decision.share, priority=wish.priority, rule=wish.rule)
