"""Who gets a study: rules, recipients, agreements, episodes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from imex.directory import DirectoryIndex, StudyFacts, parse
from imex.events.ids import share_id
from imex.sharing.decide import consider
from imex.sharing.decisions import UNMARKED, Addressed, Open, Question, Raise
from imex.sharing.judging import judge
from imex.sharing.model import Share
from imex.sharing.wishes import latest

NOW = datetime(2026, 3, 2, tzinfo=UTC)

DIRECTORY = """
institutions:
  - {code: RQM, name: A, kind: nhs}
  - {code: RT3, name: B, kind: nhs, endpoints: [{name: pacs, type: dicom, ae_title: B, host: h, port: 104}]}
  - {code: RW6, name: C, kind: nhs, endpoints: [{name: desk, type: inbox, acceptance: "true"}]}
groups: [{code: NET, name: Network, members: [RQM, RT3, RW6]}]
agreements:
  - {id: a1, from: RQM, to: [RT3, RW6], purposes: [direct-care], legal_basis: basis, valid_until: 2026-12-31}
  - {id: a2, from: RQM, to: RT3, purposes: [mdt], legal_basis: basis, modalities: [CT]}
rules:
  - {id: r1, match: {source: RQM, modality: CT}, to: [RT3], quiet_s: 5}
  - {id: r2, match: {source: RQM, description: stroke}, to: [NET], priority: emergency}
  - {id: r3, match: {source: RQM, modality: CT}, to: [RT3], purpose: mdt, priority: urgent}
"""


@pytest.fixture(scope="module")
def index() -> DirectoryIndex:
    return DirectoryIndex(parse(DIRECTORY))


def facts(*modalities: str, description: str = "") -> StudyFacts:
    return StudyFacts(source="RQM", modalities=frozenset(modalities), description=description)


def wish(**more: Any) -> Addressed:
    return Addressed(
        **{"recipient": "RT3", "purpose": "direct-care", "priority": "routine", "origin": "rule", **more}
    )


def share(index: DirectoryIndex, **more: Any) -> Share:
    values = {
        "recipient": "RT3",
        "purpose": "direct-care",
        "episode": 1,
        "passage": 1,
        "priority": "routine",
        "origin": "rule",
        "directory_version": index.version,
        "agreement": "a1",
        "state": "collecting",
        **more,
    }
    identifier = share_id("RQM", "1.2", values["recipient"], values["purpose"], values["episode"])
    return Share(id=identifier, source="RQM", study_uid="1.2", created_at=NOW, updated_at=NOW, **values)


def outcome(index: DirectoryIndex, study: StudyFacts, *shares: Share, **more: Any) -> Any:
    values = {"passage": 1, "standing": True, "background": UNMARKED, **more}
    return consider(index, Question("1.2", study, NOW, shares=shares, **values))


def asked(index: DirectoryIndex, study: StudyFacts, *recipients: str, standing: bool = True) -> list[Any]:
    planned = outcome(index, study, standing=standing, recipients=frozenset(recipients)).planned
    found = [one.addressed for one in planned]
    return [(one.recipient, one.purpose, one.priority, one.rule) for one in found]


def by_hand(index: DirectoryIndex, *shares: Share, passage: int = 1, **more: Any) -> tuple[Any, ...]:
    wished = wish(**{"origin": "command", **more})
    planned: tuple[Any, ...] = outcome(
        index, facts("CT"), *shares, standing=False, passage=passage, by_hand=wished
    ).planned
    return planned


def of_care(index: DirectoryIndex, *shares: Share, **more: Any) -> tuple[Any, ...]:
    planned = outcome(index, facts("CT", **more.pop("facts", {})), *shares, **more).planned
    return tuple(one for one in planned if one.addressed.purpose == "direct-care")


def test_each_matching_rule_addresses_its_recipients(index: DirectoryIndex) -> None:
    assert asked(index, facts("CT")) == [
        ("RT3", "direct-care", "routine", "r1"),
        ("RT3", "mdt", "urgent", "r3"),
    ]


def test_the_more_urgent_of_two_rules_for_one_recipient_and_purpose_holds(index: DirectoryIndex) -> None:
    assert sorted(asked(index, facts("CT", description="STROKE"))) == [
        ("RT3", "direct-care", "emergency", "r2"),
        ("RT3", "mdt", "urgent", "r3"),
        ("RW6", "direct-care", "emergency", "r2"),
    ]


def test_standing_rules_are_not_asked_for_a_study_sent_to_a_recipient(index: DirectoryIndex) -> None:
    assert asked(index, facts("CT"), "RW6", standing=False) == [("RW6", "direct-care", "routine", None)]


def test_a_group_is_its_members_without_the_source(index: DirectoryIndex) -> None:
    assert [one[0] for one in asked(index, facts(), "NET", standing=False)] == ["RT3", "RW6"]


def test_an_explicit_recipient_that_a_rule_names_too_is_one_wish(index: DirectoryIndex) -> None:
    assert [one for one in asked(index, facts("CT"), "RT3") if one[1] == "direct-care"] == [
        ("RT3", "direct-care", "routine", "r1")
    ]


@pytest.mark.parametrize(
    ("more", "covered"),
    [
        ({}, True),
        ({"purpose": "mdt"}, True),
        ({"purpose": "research"}, False),
        ({"recipient": "RQM"}, False),
        ({"recipient": "XXX"}, False),
    ],
)
def test_default_deny(index: DirectoryIndex, more: dict[str, Any], covered: bool) -> None:
    judgement = judge(index, facts("CT"), wish(**more), NOW, UNMARKED)
    assert judgement.covered is covered
    assert "agreement" in judgement.reason


def test_an_agreement_that_has_ended_covers_nothing(index: DirectoryIndex) -> None:
    assert not judge(index, facts("CT"), wish(), datetime(2027, 3, 2, tzinfo=UTC), UNMARKED).covered


def test_an_inbox_may_want_to_be_asked(index: DirectoryIndex) -> None:
    assert judge(index, facts(), wish(recipient="RW6"), NOW, UNMARKED).asks_recipient
    assert not judge(index, facts(), wish(), NOW, UNMARKED).asks_recipient


def test_a_first_wish_opens_the_first_episode(index: DirectoryIndex) -> None:
    (decision,) = of_care(index)
    assert isinstance(decision, Open)
    assert (decision.episode, decision.judgement.agreement) == (1, "a1")
    assert decision.judgement.directory_version == index.version


@pytest.mark.parametrize(
    "state", ["requested", "accepted", "collecting", "delivering", "delivered", "partial"]
)
@pytest.mark.parametrize("passage", [1, 2])
def test_a_share_that_lives_or_was_delivered_is_not_made_twice(
    index: DirectoryIndex, state: str, passage: int
) -> None:
    assert of_care(index, share(index, state=state), passage=passage) == ()
    assert by_hand(index, share(index, state=state), passage=passage) == ()


@pytest.mark.parametrize("state", ["failed", "cancelled", "revoked", "expired"])
def test_an_ended_share_gives_way_to_a_new_episode_when_the_study_is_sent_again(
    index: DirectoryIndex, state: str
) -> None:
    known = share(index, state=state)
    assert of_care(index, known) == ()
    (decision,) = of_care(index, known, passage=2)
    assert decision.episode == 2


def test_a_refused_share_gives_way_when_a_later_directory_covers_it(index: DirectoryIndex) -> None:
    refused = share(index, state="refused", agreement=None, directory_version="older")
    (decision,) = of_care(index, refused)
    assert (decision.episode, decision.judgement.covered) == (2, True)


def test_a_share_that_its_recipient_refused_is_not_offered_again_by_a_later_directory(
    index: DirectoryIndex,
) -> None:
    assert of_care(index, share(index, state="refused", directory_version="older")) == ()


def test_a_more_urgent_rule_raises_a_share_of_which_nothing_has_left(index: DirectoryIndex) -> None:
    known, urgent = share(index), {"facts": {"description": "stroke"}}
    (raised,) = [one for one in of_care(index, known, **urgent) if one.addressed.recipient == "RT3"]
    assert isinstance(raised, Raise)
    assert (raised.share, raised.addressed.rule, raised.addressed.priority) == (known, "r2", "emergency")
    gone = of_care(index, share(index, parts=1), **urgent)
    assert [one.addressed.recipient for one in gone] == ["RW6"]


def test_by_hand_an_ended_share_gives_way_at_once_even_if_refused_again(index: DirectoryIndex) -> None:
    refused = share(index, state="refused", agreement=None, purpose="research")
    (decision,) = by_hand(index, refused, purpose="research")
    assert (decision.episode, decision.judgement.covered) == (2, False)


def test_a_share_is_withheld_when_the_study_turns_out_to_be_more_than_is_covered(
    index: DirectoryIndex,
) -> None:
    known = share(index, purpose="mdt", agreement="a2")
    assert outcome(index, facts("CT"), known).withheld == ()
    (found,) = outcome(index, facts("CT", "PT"), known).withheld
    assert "does not include PT" in found.reason


def test_the_newest_episode_counts(index: DirectoryIndex) -> None:
    shares = [share(index, episode=2), share(index), share(index, purpose="mdt", episode=3)]
    assert latest(shares, "RT3", "direct-care") == shares[0]
    assert latest(shares, "RW6", "direct-care") is None
