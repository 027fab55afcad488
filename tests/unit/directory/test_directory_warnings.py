"""What a directory accepts, but nobody can have meant, is told with its line."""

from datetime import UTC, datetime

import pytest

from imex.directory import inspect

AT = datetime(2026, 5, 4, tzinfo=UTC)

BASE = """\
institutions:
  - {code: RQM, name: A, kind: nhs}
  - {code: RT3, name: B, kind: nhs, endpoints: [{name: pacs, type: dicom, ae_title: B, host: h, port: 104}]}
  - {code: RW6, name: C, kind: nhs, endpoints: [{name: in, type: inbox, accepts: {hours: "08:00-18:00"}}]}
  - {code: NOE, name: D, kind: nhs}
groups:
  - {code: NET, name: N, members: [RQM, RT3, RW6]}
agreements:
  - {id: a1, from: RQM, to: [RT3, NOE], purposes: [direct-care, mdt], legal_basis: law}
rules:
  - {id: r1, match: {source: RQM}, to: RT3}
"""
A1, R1 = "line 9: agreements[0]", "line 11: rules[0]"


def told(old: str, new: str) -> list[str]:
    text = BASE.replace(old, new)
    assert text != BASE or not old
    return [str(one) for one in inspect(text, AT).warnings]


def test_a_directory_that_means_what_it_says_has_none() -> None:
    assert told("", "") == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "legal_basis: law",
            "legal_basis: law, valid_until: 2026-05-03",
            [
                f"{A1}.valid_until: has ended on 2026-05-03: it lets nothing through",
                f"{R1}.to[0]: no agreement covers RQM to RT3 for direct-care: "
                "agreement a1 ended on 2026-05-03",
            ],
        ),
        ("legal_basis: law", "legal_basis: law, valid_until: 2026-05-04", []),
        (
            "mdt]",
            "resarch]",
            [
                f"{A1}.purposes[1]: 'resarch' is no known purpose, and the opt-out "
                "applies to it; did you mean research?"
            ],
        ),
        (
            "to: [RT3, NOE]",
            "to: RQM",
            [
                f"{A1}.to: is only the institution that it is from: it lets nothing through",
                f"{R1}.to[0]: no agreement covers RQM to RT3 for direct-care",
            ],
        ),
        (
            "legal_basis: law",
            "legal_basis: law, deidentify: {project: P}",
            [
                f"{A1}.deidentify: also holds for direct-care, mdt: whoever cares for "
                "the person will not know who it is"
            ],
        ),
        (
            "to: RT3}",
            "to: NOE}",
            [f"{R1}.to[0]: NOE has no endpoint to deliver to"],
        ),
        (
            "to: RT3}",
            "to: NET}",
            [f"{R1}.to[0]: no agreement covers RQM to RW6 for direct-care"],
        ),
        (
            "match: {source: RQM}",
            "match: {modality: CT}",
            [],
        ),
        (
            "match: {source: RQM}",
            "when: '\"CT\" in study.modalities'",
            [f"{R1}.when: is evaluated for every study of everybody; name its source, in match or in &&"],
        ),
        ("match: {source: RQM}", 'when: \'source == "RQM" && "CT" in study.modalities\'', []),
        (
            "match: {source: RQM}",
            "match: {source: RT3}, when: 'source == \"RQM\"'",
            [
                f"{R1}: matches nothing: match and when name different sources",
                f"{R1}.to[0]: no agreement covers any of its sources to RT3 for direct-care",
            ],
        ),
        (
            "to: RT3}",
            "to: RT3, alternates: [{if: closed, to: NOE}, {if: uncovered, to: RW6}]}",
            [
                f"{R1}.alternates[0].if: never holds: no endpoint of RT3 has hours",
                f"{R1}.alternates[0].to[0]: is passed over: NOE has no endpoint to deliver to",
                f"{R1}.alternates[1].to[0]: is passed over: no agreement covers RQM to RW6 for direct-care",
            ],
        ),
        (
            "to: RT3}",
            "to: RT3, priority: emergency, escalate: {after_s: 60, to: urgent}}",
            [f"{R1}.escalate.to: is no more urgent than the rule's own priority, emergency"],
        ),
        (
            "name: in, type: inbox",
            "name: in, type: inbox, identity: {unmapped: add-issuer}",
            [
                "line 4: institutions[2].endpoints[0].identity.unmapped: says nothing where neither "
                "patient_id nor accession is 'map'"
            ],
        ),
        (
            "port: 104}",
            "port: 104, query: true, query_issuer: NHS}",
            [
                "line 3: institutions[1].endpoints[0].query: nothing that it sends is let in: "
                "the institution has no sender"
            ],
        ),
        (
            "port: 104}",
            "port: 104, query_issuer: NHS}",
            ["line 3: institutions[1].endpoints[0].query_issuer: says nothing without query: true"],
        ),
        (
            "{code: RQM, name: A, kind: nhs}",
            "{code: RQM, name: A, kind: nhs, senders: [{ae_title: RQM_PACS, commitment: true}]}",
            [
                "line 2: institutions[0].senders[0].commitment: every answer will be no: no recipient of its "
                "agreements has an endpoint with 'confirm: commitment'",
                "line 2: institutions[0].senders[0].commitment: no DICOM endpoint to report to: name one in "
                "report_to; without one, reports go out on the association of the question alone, while it "
                "is open",
            ],
        ),
        (
            "name: B, kind: nhs,",
            "name: B, kind: nhs, senders: [{ae_title: B, commitment: true}],",
            [
                "line 3: institutions[1].senders[0].commitment: every answer will be no: no recipient of its "
                "agreements has an endpoint with 'confirm: commitment'"
            ],
        ),
        (
            "legal_basis: law",
            "legal_basis: law, modalities: MR",
            [],
        ),
        (
            "legal_basis: law",
            "legal_basis: law, clinician_required: true",
            [
                f"{R1}.to[0]: no agreement covers RQM to RT3 for direct-care: agreement a1 asks "
                "for a named clinician at the recipient"
            ],
        ),
    ],
)
def test_what_cannot_be_meant_is_told(old: str, new: str, words: list[str]) -> None:
    assert told(old, new) == words


def test_a_sender_that_may_ask_and_an_archive_that_commits_need_no_warning() -> None:
    text = BASE.replace(
        "{code: RQM, name: A, kind: nhs}",
        "{code: RQM, name: A, kind: nhs, senders: [{ae_title: A, commitment: true, report_to: pacs}], "
        "endpoints: [{name: pacs, type: dicom, ae_title: C, host: h, port: 104}]}",
    )
    committing = text.replace(
        "ae_title: B, host: h, port: 104", "ae_title: B, host: h, port: 104, confirm: commitment"
    )
    assert len(inspect(text, AT).warnings) == 1
    assert not inspect(committing, AT).warnings


def test_a_rule_whose_modality_no_agreement_includes_is_told() -> None:
    text = BASE.replace("law}", "law, modalities: MR}").replace(
        "{source: RQM}", "{source: RQM, modality: CT}"
    )
    (warning,) = inspect(text, AT).warnings
    assert warning.field == "rules[0].to[0]"
