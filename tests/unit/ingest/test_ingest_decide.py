"""Who may come in, what may be stored, which lane and key it takes."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from imex.dicom import Elements, Header, Identity
from imex.directory import DirectoryIndex, Recipient, Standing, parse
from imex.ingest.decide import Admitted, Turned, admit, lane_of, refusal, study_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"
TEXT = """
institutions:
  - {code: RQM, name: A, kind: nhs, senders: [{ae_title: RQM_PACS}]}
  - {code: RT3, name: B, kind: nhs, senders: [{ae_title: RT3_PACS, networks: [10.0.0.0/8]}]}
  - {code: RX1, name: C, kind: nhs}
groups:
  - {code: NET, name: N, members: [RQM, RT3, RX1]}
  - {code: FAR, name: F, members: [RX1]}
agreements:
  - {id: a1, from: RQM, to: RT3, purposes: [direct-care], legal_basis: law}
  - {id: a2, from: RT3, to: RQM, purposes: [mdt], legal_basis: law}
rules:
  - {id: r1, match: {source: RQM, modality: MR}, to: [RT3], priority: emergency}
"""


@pytest.fixture
def index() -> DirectoryIndex:
    return DirectoryIndex(parse(TEXT))


@pytest.mark.parametrize(
    ("calling", "called", "host", "expected"),
    [
        ("RQM_PACS", "IMEX", "192.0.2.1", Admitted("RQM", Standing())),
        ("RQM_PACS", "RT3", "::1", Admitted("RQM", Recipient("RT3"))),
        ("RQM_PACS", "NET", "192.0.2.1", Admitted("RQM", Recipient("NET"))),
        ("RT3_PACS", "IMEX", "10.1.2.3", Admitted("RT3", Standing())),
    ],
)
def test_known_senders_come_in(
    index: DirectoryIndex, calling: str, called: str, host: str, expected: Admitted
) -> None:
    assert admit(index, "IMEX", calling, called, host) == expected


@pytest.mark.parametrize(
    ("calling", "called", "host", "at_fault"),
    [
        ("NOBODY", "IMEX", "10.1.2.3", "calling"),
        ("NOBODY", "NOWHERE", "10.1.2.3", "calling"),
        ("RT3_PACS", "IMEX", "192.0.2.77", "calling"),
        ("RQM_PACS", "NOWHERE", "192.0.2.77", "called"),
        ("", "", "", "calling"),
    ],
)
def test_everyone_else_is_turned_away_with_words_that_name_no_address(
    index: DirectoryIndex, calling: str, called: str, host: str, at_fault: str
) -> None:
    decision = admit(index, "IMEX", calling, called, host)
    assert isinstance(decision, Turned)
    assert decision.at_fault == at_fault
    assert decision.words
    assert "192.0.2.77" not in decision.words


@pytest.mark.parametrize(
    ("source", "code", "open_"),
    [("RQM", "RT3", True), ("RQM", "RX1", False), ("RT3", "RQM", False), ("RQM", "NET", True),
     ("RQM", "FAR", False), ("RQM", "RQM", False)],
)  # fmt: skip
def test_a_recipient_needs_an_agreement(index: DirectoryIndex, source: str, code: str, open_: bool) -> None:
    words = refusal(index, source, Recipient(code), NOW)
    assert (words is None) is open_
    if words is not None:
        assert "agreement" in words[:64]


def test_standing_rules_are_judged_later(index: DirectoryIndex) -> None:
    assert refusal(index, "RX1", Standing(), NOW) is None


@pytest.mark.parametrize("uid", ["", "1.02.3", "not a uid", "1" * 70])
def test_a_study_without_a_usable_uid_gets_a_stand_in_for_its_association(uid: str) -> None:
    association = uuid4()
    assert study_of(Header(elements=Elements(study_uid=uid)), association) == f"unknown/{association}"
    assert study_of(Header(elements=Elements(study_uid="1.2.3")), association) == "1.2.3"


def test_the_lane_is_express_where_an_emergency_rule_could_match(index: DirectoryIndex) -> None:
    def chosen(modality: str, called: Standing | Recipient = Standing()) -> str:  # noqa: B008
        header = Header(elements=Elements(modality=modality), identity=Identity())
        return lane_of(index, "RQM", called, header, CT)

    assert chosen("MR") == "express"
    assert chosen("CT") == "bulk"
    assert chosen("") == "express"
    assert chosen("MR", Recipient("RT3")) == "bulk"
