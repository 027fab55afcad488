"""Who sends, who is meant, what covers it, which rules match: pure decisions over one version."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.directory import (
    DirectoryIndex,
    IdentifiedSender,
    Lane,
    Recipient,
    Standing,
    StudyFacts,
    UnknownCalled,
    UnknownSender,
    WhyUnknown,
    covering_agreement,
    firing_rules,
    is_open,
    lane,
    matching_rules,
    parse,
)

NOW = datetime(2027, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def index(example: str) -> DirectoryIndex:
    return DirectoryIndex(parse(example))


def three(senders: str) -> DirectoryIndex:
    return DirectoryIndex(parse(f"institutions: [{{code: A1, name: X, kind: nhs, senders: {senders}}}]"))


def test_a_known_ae_title_from_anywhere_is_its_institution(index: DirectoryIndex) -> None:
    found = index.identify_sender("RQM_PACS  ", "203.0.113.9")
    assert isinstance(found, IdentifiedSender)
    assert found.institution.code == "RQM"


def test_an_unknown_ae_title_is_nobody(index: DirectoryIndex) -> None:
    found = index.identify_sender("STRANGER", "127.0.0.1")
    assert isinstance(found, UnknownSender)
    assert found.why is WhyUnknown.UNKNOWN_AE_TITLE
    assert "STRANGER" in found.words


@pytest.mark.parametrize(
    ("host", "known"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("10.2.0.1", False), ("::1", False), ("nonsense", False)],
)
def test_networks_limit_where_a_sender_may_come_from(host: str, known: bool) -> None:
    found = three("[{ae_title: P, networks: [10.1.0.0/16]}]").identify_sender("P", host)
    assert isinstance(found, IdentifiedSender) == known
    if isinstance(found, UnknownSender):
        assert found.why is WhyUnknown.WRONG_NETWORK


def test_networks_tell_two_institutions_with_one_title_apart() -> None:
    index = DirectoryIndex(
        parse(
            "institutions:\n"
            "- {code: A1, name: X, kind: nhs, senders: [{ae_title: P, networks: [10.1.0.0/16]}]}\n"
            "- {code: B1, name: Y, kind: nhs, senders: [{ae_title: P, networks: [10.2.0.0/16]}]}\n"
        )
    )
    found = index.identify_sender("P", "10.2.0.1")
    assert isinstance(found, IdentifiedSender)
    assert found.institution.code == "B1"


def test_the_called_ae_title_means_rules_a_recipient_or_nothing(index: DirectoryIndex) -> None:
    assert index.resolve_called("IMEX ", "IMEX") == Standing()
    assert index.resolve_called("RT3", "IMEX") == Recipient("RT3")
    assert index.resolve_called("STROKE_NW", "IMEX") == Recipient("STROKE_NW")
    assert isinstance(index.resolve_called("RT9", "IMEX"), UnknownCalled)


def test_a_group_stands_for_its_members_but_never_for_the_source(index: DirectoryIndex) -> None:
    assert index.recipients("STROKE_NW", "RQM") == ("RT3",)
    assert index.recipients(["STROKE_NW", "RT3", "RQM"], "RT3") == ("RQM",)
    assert index.recipients("RQM", "RQM") == ()


def test_an_agreement_covers_what_it_names(index: DirectoryIndex) -> None:
    coverage = covering_agreement(index, "RQM", "RT3", "mdt", NOW, ["CT"])
    assert coverage.agreement is not None
    assert coverage.agreement.id == "a1"


@pytest.mark.parametrize(
    ("source", "recipient", "purpose", "at", "words"),
    [
        ("RQM", "RT3", "research", NOW, "a1 is for direct-care, mdt only"),
        ("RQM", "RT3", "mdt", datetime(2025, 1, 1, tzinfo=UTC), "a1 begins on 2026-01-01"),
        ("RQM", "RT3", "mdt", datetime(2031, 1, 1, tzinfo=UTC), "a1 ended on 2030-01-01"),
        ("RT3", "RQM", "mdt", NOW, "only from RQM to RT3"),
        ("RQM", "RQM", "mdt", NOW, "no agreement covers RQM to RQM"),
        ("RQM", "NONE", "mdt", NOW, "no agreement covers RQM to NONE"),
    ],
)
def test_where_no_agreement_covers_the_words_say_why(  # noqa: PLR0917 - one row of the table
    index: DirectoryIndex, source: str, recipient: str, purpose: str, at: datetime, words: str
) -> None:
    coverage = covering_agreement(index, source, recipient, purpose, at)
    assert coverage.agreement is None
    assert words in coverage.words
    assert "agreement" in coverage.words[:64], "an Error Comment has 64 characters"


@pytest.mark.parametrize(
    ("at", "covered"),
    [
        (datetime(2029, 12, 31, 23, 59, tzinfo=UTC), True),
        (datetime(2030, 1, 1, 23, 59, tzinfo=UTC), True),
        (datetime(2030, 1, 2, 0, 1, tzinfo=UTC), False),
        (datetime(2025, 12, 31, 23, 59, tzinfo=UTC), False),
        (datetime(2026, 1, 1, tzinfo=UTC), True),
    ],
)
def test_both_dates_of_an_agreement_count_in_full(index: DirectoryIndex, at: datetime, covered: bool) -> None:
    assert (covering_agreement(index, "RQM", "RT3", "mdt", at).agreement is not None) == covered


def test_an_agreement_may_be_limited_to_modalities_and_name_groups(example: str) -> None:
    text = example.replace("from: RQM, to: RT3", "from: STROKE_NW, to: STROKE_NW, modalities: [CT, SR]")
    index = DirectoryIndex(parse(text))
    assert covering_agreement(index, "RT3", "RQM", "mdt", NOW, ["CT"]).agreement
    refused = covering_agreement(index, "RT3", "RQM", "mdt", NOW, ["CT", "MR"])
    assert refused.agreement is None
    assert "does not include MR" in refused.words


def test_a_study_matches_a_rule_as_a_whole(index: DirectoryIndex) -> None:
    facts = StudyFacts("RQM", modalities=frozenset({"SR", "CT"}))
    found = firing_rules(index, facts)
    assert [(one.rule.id, one.recipients) for one in found] == [("r1", ("RT3",))]


def test_every_rule_says_why(index: DirectoryIndex) -> None:
    facts = StudyFacts("RQM", modalities=frozenset({"MR"}), description="Private Person STROKE call")
    told = {one.rule.id: one for one in matching_rules(index, facts)}
    assert not told["r1"].matched
    assert told["r1"].reasons == ("modality CT is not in the study (MR)",)
    assert told["r2"].matched
    assert "Private Person" not in " ".join(told["r2"].reasons)


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ("{source: [RT3, RQM]}", True),
        ("{source: STROKE_NW}", True),
        ("{source: RT3}", False),
        ("{source_kind: nhs}", True),
        ("{source_kind: [military, ai]}", False),
        ("{body_part: [HEAD, NECK]}", True),
        ("{body_part: chest}", False),
        ("{sop_class: 1.2.840.10008.5.1.4.1.1.2}", True),
        ("{description: [stroke, trauma]}", True),
        ("{description: knee}", False),
        ("{called_ae: IMEX}", True),
        ("{source: RQM, modality: MR}", False),
    ],
)
def test_structured_conditions(example: str, match: str, matches: bool) -> None:
    index = DirectoryIndex(parse(example.replace("{source: RQM, modality: CT}", match)))
    facts = StudyFacts(
        "RQM",
        modalities=frozenset({"CT"}),
        sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.2"}),
        body_parts=frozenset({"HEAD"}),
        description="Acute STROKE",
        called_ae="IMEX",
    )
    assert matching_rules(index, facts)[0].matched == matches


def test_match_and_when_must_both_hold(example: str) -> None:
    text = example.replace(
        "match: {source: RQM, modality: CT}", "match: {modality: CT}, when: 'source == \"RT3\"'"
    )
    index = DirectoryIndex(parse(text))
    assert not matching_rules(index, StudyFacts("RQM", modalities=frozenset({"CT"})))[0].matched
    assert matching_rules(index, StudyFacts("RT3", modalities=frozenset({"CT"})))[0].matched


def test_a_condition_that_costs_too_much_does_not_match(example: str) -> None:
    ten = "[1,2,3,4,5,6,7,8,9,10]"
    deep = "1"
    for name in "abcdef":
        deep = f"{ten}.map({name}, {deep})"
    index = DirectoryIndex(parse(example.replace('source == "RQM" &&', f"{deep}.size() > 0 &&")))
    told = matching_rules(index, StudyFacts("RQM"))[1]
    assert not told.matched
    assert "could not be evaluated" in told.reasons[0]


@pytest.mark.parametrize(
    ("source", "description", "expected"),
    [
        ("RQM", None, Lane.EXPRESS),
        ("RQM", "STROKE", Lane.EXPRESS),
        ("RQM", "HIP", Lane.BULK),
        ("RT3", None, Lane.BULK),
    ],
)
def test_the_lane_is_express_where_an_emergency_rule_matches_or_could(
    index: DirectoryIndex, source: str, description: str | None, expected: Lane
) -> None:
    assert lane(index, source, Standing(), "CT", description=description) is expected
    assert lane(index, source, Recipient("RT3"), "CT", description=description) is Lane.BULK


@given(
    source=st.sampled_from(["RQM", "RT3"]),
    modality=st.sampled_from(["CT", "MR"]),
    description=st.sampled_from(["STROKE", "HIP", ""]),
)
def test_what_an_emergency_rule_takes_is_never_classified_as_bulk(
    source: str, modality: str, description: str
) -> None:
    text = (
        "institutions: [{code: RQM, name: A, kind: nhs}, {code: RT3, name: B, kind: nhs}]\n"
        "rules:\n"
        "- {id: r1, match: {modality: CT, description: stroke}, to: RT3, priority: emergency}\n"
        '- {id: r2, when: \'source == "RT3" && "MR" in study.modalities\', to: RQM, priority: emergency}\n'
    )
    index = DirectoryIndex(parse(text))
    facts = StudyFacts(source, modalities=frozenset({modality}), description=description)
    if firing_rules(index, facts):
        assert lane(index, source, Standing(), modality) is Lane.EXPRESS
        assert lane(index, source, Standing(), modality, description=description) is Lane.EXPRESS


def test_a_share_goes_to_the_first_endpoint_unless_it_names_another(index: DirectoryIndex) -> None:
    first = index.endpoint_for("RT3")
    assert first is not None
    assert first == index.endpoint_for("RT3", "pacs")
    assert index.endpoint_for("RT3", "inbox") is None
    assert index.endpoint_for("NONE") is None


@pytest.mark.parametrize(
    ("hours", "at", "expected"),
    [
        ("08:00-18:00", datetime(2026, 1, 5, 8, tzinfo=UTC), True),
        ("08:00-18:00", datetime(2026, 1, 5, 18, tzinfo=UTC), False),
        ("08:00-18:00", datetime(2026, 7, 6, 7, 30, tzinfo=UTC), True),
        ("22:00-06:00", datetime(2026, 1, 5, 23, tzinfo=UTC), True),
        ("22:00-06:00", datetime(2026, 1, 5, 12, tzinfo=UTC), False),
        ("00:00-24:00", datetime(2026, 1, 5, 23, 59, tzinfo=UTC), True),
    ],
)
def test_hours_are_local_time_and_may_pass_midnight(
    example: str, hours: str, at: datetime, expected: bool
) -> None:
    endpoint = DirectoryIndex(parse(example.replace("00:00-24:00", hours))).endpoint_for("RT3")
    assert endpoint is not None
    assert is_open(endpoint, at) == expected
