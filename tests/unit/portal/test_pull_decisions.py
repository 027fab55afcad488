"""Who is let in to query, in which transfer syntax, what is proposed to a node, and how a retrieval ends."""

from datetime import UTC, datetime

import pytest

from imex.dicom.rewriting import DEFLATED, EXPLICIT, IMPLICIT
from imex.dimse import AssociationRequest
from imex.dimse.items import ProposedContext
from imex.directory import DirectoryIndex, Institution, parse
from imex.directory.certificates import CertificateFacts, institution_uri
from imex.directory.model import DicomEndpoint
from imex.portal.queries.holdings import HeldInstance
from imex.portal.query_retrieve.move import proposals
from imex.portal.query_retrieve.policy import favoured, identified
from imex.portal.query_retrieve.retrieving import Course

FIND, CT, JPEG = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.4.70"
DIRECTORY = """
institutions:
  - code: RT3
    name: Hospital B
    kind: nhs
    senders:
      - {ae_title: RT3_PACS, networks: [10.20.0.0/16]}
      - {ae_title: RT3_CT}
      - {ae_title: RT3_RIS, networks: [10.20.0.0/16]}
      - {ae_title: RT3_RIS}
  - {code: RXX, name: Hospital C, kind: nhs, senders: [{ae_title: RXX_PACS}]}
"""


def asks(calling_ae: str, host: str) -> AssociationRequest:
    return AssociationRequest(calling_ae, "IMEX", host, 50000, (ProposedContext(1, FIND, (IMPLICIT,)),))


@pytest.mark.parametrize(
    ("calling_ae", "host", "anywhere", "known"),
    [
        ("RT3_PACS", "10.20.3.4", False, True),
        ("RT3_PACS ", "10.20.3.4", False, True),
        ("RT3_PACS", "10.21.3.4", False, False),
        ("RT3_PACS", "10.21.3.4", True, False),
        ("RT3_CT", "10.20.3.4", False, False),
        ("RT3_CT", "10.20.3.4", True, True),
        ("RT3_RIS", "203.0.113.9", False, False),
        ("NOBODY", "10.20.3.4", True, False),
    ],
)
def test_without_tls_an_address_vouches_for_an_ae_title(
    calling_ae: str, host: str, anywhere: bool, known: bool
) -> None:
    index = DirectoryIndex(parse(DIRECTORY))
    found = identified(index, asks(calling_ae, host), None, anywhere=anywhere)
    assert isinstance(found, Institution) is known
    if isinstance(found, str):
        assert found
        assert host not in found, "an address is personal, and the words go into the record"


def test_with_tls_the_certificate_decides_and_networks_are_not_needed() -> None:
    index = DirectoryIndex(parse(DIRECTORY))
    shown = CertificateFacts("0" * 64, uris=frozenset({institution_uri("RXX")}))
    found = identified(index, asks("RXX_PACS", "192.0.2.1"), shown, anywhere=False)
    assert isinstance(found, Institution)
    assert found.code == "RXX"
    assert isinstance(identified(index, asks("RT3_CT", "192.0.2.1"), shown, anywhere=True), str)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((JPEG, IMPLICIT, EXPLICIT), EXPLICIT),
        ((IMPLICIT, JPEG), IMPLICIT),
        ((JPEG, "1.2.840.10008.1.2.4.90"), JPEG),
    ],
)
def test_of_several_transfer_syntaxes_the_one_is_taken_that_most_can_be_had_in(
    offered: tuple[str, ...], chosen: str
) -> None:
    assert favoured(ProposedContext(1, CT, offered)) == chosen
    assert favoured(ProposedContext(1, FIND, offered)) == (chosen if chosen != JPEG else None)


def node(**accepts: object) -> DicomEndpoint:
    return DicomEndpoint.model_validate(
        {"name": "p", "type": "dicom", "ae_title": "P", "host": "h", "port": 104, "accepts": accepts}
    )


def test_what_is_stored_is_proposed_first_and_only_what_the_endpoint_takes() -> None:
    stored = [(CT, IMPLICIT), (CT, JPEG)]
    assert proposals(node(), stored) == [(CT, IMPLICIT), (CT, JPEG), (CT, EXPLICIT)]
    assert proposals(node(transfer_syntaxes=[EXPLICIT]), stored) == [(CT, EXPLICIT)]
    assert proposals(node(sop_classes=["1.2.3"]), stored) == []
    assert proposals(node(), [(CT, DEFLATED)]) == [(CT, DEFLATED), (CT, EXPLICIT), (CT, IMPLICIT)]
    assert len(proposals(node(), [(f"1.2.{n}", JPEG) for n in range(300)])) == 128


def held(uid: str) -> HeldInstance:
    return HeldInstance(
        "RQM", "1.2", "1.3", uid, CT, EXPLICIT, "CT", "k", 1, "sha256:", datetime.now(UTC), None
    )


def test_a_retrieval_ends_as_its_sub_operations_did() -> None:
    assert Course(0).status() == 0x0000
    assert Course(3, completed=3).status() == 0x0000
    assert Course(3, completed=2, warning=1).status() == 0xB000
    assert Course(3, completed=2, taken_back=1).status() == 0xB000
    course = Course(70_000, completed=1)
    course.fails(held("1.5"), "first")
    course.fails(held("1.6"), "second")
    assert (course.status(), course.reason, course.failed) == (0xB000, "first", ["1.5", "1.6"])
    counts = course.counts(remaining=True)
    assert (counts.remaining, counts.completed, counts.failed) == (0xFFFF, 1, 2)
    none = Course(2)
    for uid in ("1.5", "1.6"):
        none.fails(held(uid), "refused")
    assert none.status() == 0xA702
