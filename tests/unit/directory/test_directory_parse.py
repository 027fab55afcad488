"""A directory file is accepted, or every reason why not is told with its line and field."""

import json
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imex.directory import Directory, DirectoryErrors, digest, parse, render_schema, to_yaml
from imex.directory.document import as_document, canonical
from imex.directory.model import DicomEndpoint, InboxEndpoint
from imex.directory.policies import Priority
from imex.directory.source import MAX_BYTES

REPOSITORY = Path(__file__).parents[3]


def findings(text: str) -> list[str]:
    with pytest.raises(DirectoryErrors) as caught:
        parse(text)
    return [str(error) for error in caught.value.errors]


def test_the_documented_example_is_accepted(example: str) -> None:
    directory = parse(example)
    assert [one.code for one in directory.institutions] == ["RQM", "RT3"]
    endpoint = directory.institutions[1].endpoints[0]
    assert isinstance(endpoint, DicomEndpoint)
    assert endpoint.accepts.max_associations == 2
    assert endpoint.accepts.sop_classes is None
    assert directory.agreements[0].valid_until == date(2030, 1, 1)
    assert directory.agreements[0].from_ == ("RQM",)
    assert directory.rules[1].priority is Priority.EMERGENCY


def test_an_export_is_accepted_unchanged(example: str) -> None:
    directory = parse(example)
    exported = to_yaml(directory)
    assert parse(exported) == directory
    assert digest(parse(exported)) == digest(directory)
    assert to_yaml(parse(exported)) == exported


@given(
    name=st.text(min_size=1, max_size=40).filter(
        lambda text: text.strip() and not any(ord(one) < 32 or ord(one) == 127 for one in text)
    )
)
def test_whatever_a_name_consists_of_it_survives_an_export(name: str) -> None:
    directory = Directory.model_validate({"institutions": [{"code": "A1", "name": name, "kind": "nhs"}]})
    assert parse(to_yaml(directory)) == directory


FULL = """
institutions:
  - code: A1
    name: A
    kind: nhs
    senders: [{ae_title: A, networks: [10.0.0.0/8], certificate: "dns:a.example", \
commitment: true, report_to: pacs}]
    endpoints:
      - {name: pacs, type: dicom, ae_title: A, host: a.example, port: 104, tls: false, identity: \
{patient_id: map, unmapped: add-issuer}, accepts: {max_mbps: 2.5, sop_classes: [1.2.3], hours: "08:00-20:00"}}
      - {name: web, type: dicomweb, url: "https://a.example/dicom-web", accepts: {sop_classes: any}}
    limits: {max_associations: 3}
    checks: {nhs-number: refuse}
    header_revisions: replace
  - {code: B1, name: B, kind: ai, header_revisions: hold}
groups: [{code: NET, name: N, kind: stroke, members: [A1, B1]}]
agreements:
  - {id: a1, from: NET, to: B1, purposes: research, legal_basis: law, valid_from: 2026-01-01, \
controllers: A1, processors: [B1], deidentify: {project: P, options: [clean-graphics], burned_in: release}, \
clinician_required: true, opt_out: exempt, sensitive: false}
rules:
  - {id: r1, match: {source: A1, source_kind: nhs, description: x}, to: B1, quiet_s: 0, clinician: Dr X, \
alternates: [{if: closed, to: NET}], priors: {count: 2, modality: any}, unless_held: true, \
completeness: {required_series: "series.size() > 1", at_most_s: 60}, escalate: {after_s: 5, to: urgent}}
"""


def test_every_field_is_written_as_the_model_itself_writes_it() -> None:
    def full(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {name: full(inside) for name, inside in value.items()}
            return {name: inside for name, inside in kept.items() if inside not in (None, [], {})}
        return [full(inside) for inside in value] if isinstance(value, list) else value

    directory = parse(FULL)
    assert as_document(directory) == full(directory.model_dump(mode="json", by_alias=True))
    assert parse(to_yaml(directory)) == directory
    assert Directory.model_validate_json(canonical(directory)) == directory


def test_the_line_of_an_error_is_found_behind_keys_without_value_and_in_flow() -> None:
    text = "institutions:\n  - code: A1\n    name:\n    kind: nhs\n  - {code: B1, name: B,\n     kind: nsh}\n"
    assert findings(text) == [
        "line 3: institutions[0].name: is missing",
        "line 6: institutions[1].kind: 'nsh' is not one of nhs, private, military, teleradiology, ai, "
        "planning, forensic; did you mean nhs?",
    ]


def test_an_empty_directory_survives_export_but_an_empty_file_is_no_directory() -> None:
    assert parse(to_yaml(Directory())) == Directory()
    assert "institutions: []" in findings("")[0]


def test_digest_ignores_layout_and_spelt_out_defaults_but_no_value(example: str) -> None:
    version = digest(parse(example))
    assert digest(parse("# a comment\n" + example.replace("[RT3]", "RT3"))) == version
    assert digest(parse(example.replace("port: 4242}", "port: 4242, tls: false}"))) == version
    assert digest(parse(example.replace("port: 4243", "port: 4244"))) != version


def test_json_is_yaml_too(example: str) -> None:
    directory = parse(example)
    as_json = json.dumps(yaml.safe_load(to_yaml(directory)))
    assert parse(as_json) == directory


@pytest.mark.parametrize("code", ["0123", "NO", "1E5", "null1", "007"])
def test_a_code_stays_as_it_was_written(code: str) -> None:
    directory = parse(f"institutions: [{{code: {code}, name: X, kind: nhs}}]")
    assert directory.institutions[0].code == code
    assert parse(to_yaml(directory)) == directory


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "words"),
    [
        ("kind: nhs\n    senders", "kind: nsh\n    senders", 4, "institutions[0].kind", "did you mean nhs?"),
        ("port: 4242", "prot: 4242", 7, "institutions[0].endpoints[0].prot", "did you mean port?"),
        ("port: 4242", "port: 70000", 7, "institutions[0].endpoints[0].port", "65535"),
        ("port: 4242", "port: http", 7, "institutions[0].endpoints[0].port", "whole number"),
        ("port: 4243\n", "\n", 12, "institutions[1].endpoints[0].port", "is missing"),
        ("type: dicom\n", "type: dicm\n", 13, "institutions[1].endpoints[0].type", "did you mean dicom?"),
        ("type: dicom\n", "type: gateway\n", 13, "institutions[1].endpoints[0].type", "reserved"),
        ("host: 127.0.0.1, ", "host: 'http://x', ", 7, "institutions[0].endpoints[0].host", "host name"),
        ("host: 127.0.0.1, ", "host: 300.1.2.3, ", 7, "institutions[0].endpoints[0].host", "none"),
        ("1.2.840.10008.1.2.1", "1.2.840.01", 17, ".transfer_syntaxes[0]", "is no UID"),
        ('"00:00-24:00"', '"24:00-08:00"', 17, ".accepts.hours", "00:00 to 24:00"),
        ('"00:00-24:00"', '"08:00-08:00"', 17, ".accepts.hours", "never open"),
        ('"00:00-24:00"', '"8-18"', 17, ".accepts.hours", "08:00-18:30"),
        ("max_associations: 2", "max_associations: 0", 17, ".max_associations", "greater than or equal to 1"),
        ("[{ae_title: RQM_PACS}]", "[{ae_title: A_TITLE_TOO_LONG_}]", 5, "senders[0].ae_title", "16"),
        (
            "{ae_title: RQM_PACS}]",
            "{ae_title: X, networks: [10.0.0.1/8]}]",
            5,
            "senders[0].networks[0]",
            "did you mean 10.0.0.0/8?",
        ),
        ("{ae_title: RQM_PACS}]", "{ae_title: X, networks: [ten]}]", 5, "senders[0].networks[0]", "network"),
        ("2026-01-01", "2026-13-01", 21, "agreements[0].valid_from", "date such as"),
        ("2030-01-01", "2025-01-01", 21, "agreements[0].valid_until", "before valid_from"),
        ("purposes: [direct-care, mdt]", "purposes: []", 21, "agreements[0].purposes", "must not be empty"),
        ("match: {source: RQM, modality: CT}, ", "", 23, "rules[0]", "needs a condition"),
        ("match: {source: RQM, modality: CT}", "match: {modalty: CT}", 23, "match.modalty", "modality?"),
        ("priority: routine", "priority: stat", 23, "rules[0].priority", "routine, urgent, emergency"),
        ("quiet_s: 60", "quiet_s: -1", 23, "rules[0].quiet_s", "greater than or equal to 0"),
        (".contains(", ".contans(", 24, "rules[1].when", "undeclared reference to 'contans'"),
        ("study.description.contains", "study.descripton.contains", 24, "rules[1].when", "descripton"),
        ('source == "RQM" && study.description.contains("STROKE")', "source", 24, "rules[1].when", "STRING"),
        ("members: [RQM, RT3]", "members: [RQM, RT4]", 19, "groups[0].members[1]", "did you mean RT3?"),
        ("members: [RQM, RT3]", "members: [RQM, RQM]", 19, "groups[0].members[1]", "named twice"),
        ("to: [RT3]", "to: [STROKE_NV]", 23, "rules[0].to[0]", "did you mean STROKE_NW?"),
        ("from: RQM", "from: RQ", 21, "agreements[0].from[0]", "no institution or group"),
        ("match: {source: RQM", "match: {source: RQN", 23, "match.source[0]", "did you mean RQM?"),
        ("id: r2", "id: r1", 24, "rules[1].id", "used twice; first in rules[0]"),
        ("code: STROKE_NW", "code: RT3", 19, "groups[0].code", "used twice; first in institutions[1]"),
        ("code: RT3", "code: rqm", 8, "institutions[1].code", "in case only"),
        ("code: STROKE_NW", "code: IMEX", 19, "groups[0].code", "reserved"),
        ("quiet_s: 60", "endpoint: inbox", 23, "rules[0].endpoint", "no endpoint of RT3"),
        ("{ae_title: RQM_PACS}", "{ae_title: RQM_PACS, report_to: x}", 5, "report_to", "no DICOM endpoint"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_field(  # noqa: PLR0917 - one row of the table
    example: str, old: str, new: str, line: int, field: str, words: str
) -> None:
    assert old in example
    told = findings(example.replace(old, new, 1))
    assert any(f"line {line}: " in one and field in one and words in one for one in told), told


def test_all_mistakes_are_told_at_once(example: str) -> None:
    broken = example.replace("port: 4242", "port: x").replace("quiet_s: 60", "quiet: 60")
    broken = broken.replace("2030-01-01", "soon")
    assert [one.split(":")[0] for one in findings(broken)] == ["line 7", "line 21", "line 23"]


def test_one_sender_that_fits_two_institutions_is_an_error(example: str) -> None:
    senders = "senders: [{ae_title: RQM_PACS, networks: [10.0.0.0/8]}]\n    endpoints:\n      - name"
    told = findings(example.replace("endpoints:\n      - name", senders))
    assert "fits RQM and RT3" in told[0]
    apart = example.replace("endpoints:\n      - name", senders)
    apart = apart.replace("[{ae_title: RQM_PACS}]", "[{ae_title: RQM_PACS, networks: [192.168.0.0/16]}]")
    assert parse(apart)


def test_a_rule_without_agreement_and_an_expired_agreement_are_accepted(example: str) -> None:
    expired = example.replace("2026-01-01", "2020-01-01").replace("2030-01-01", "2021-01-01")
    assert parse(expired.replace("to: [RT3]", "to: [RQM]"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("institutions: &all []\ngroups: *all", "anchors"),
        ("institutions: *all", "alias"),
        ("institutions: !!python/object:os.system []", "tags"),
        ("institutions: []\ninstitutions: []", "given twice, on lines 1 and 2"),
        ("[]", "must be a mapping"),
        ("institutions: [", "no valid YAML"),
        ("institutions: []\n---\ngroups: []", "more than one"),
        ("institutions: " + "[" * 40 + "]" * 40, "nested deeper"),
        ("# " + "x" * MAX_BYTES, "bytes long"),
        ("institutions: \x00", "no valid YAML"),
        ("institutons: []", "did you mean institutions?"),
        ("? [a]\n: b", "key that is no text"),
    ],
)
def test_what_is_no_acceptable_yaml_is_refused_in_words(text: str, words: str) -> None:
    assert any(words in one for one in findings(text)), findings(text)


def test_a_finding_never_repeats_endless_text() -> None:
    endless = "x" * 100_000
    for text in (f"{endless}: 1", f"institutions: [{{code: A1, name: X, kind: {endless}}}]"):
        assert all(len(one) < 500 for one in findings(text))


def test_an_inbox_may_ask_for_acceptance() -> None:
    directory = parse(
        "institutions: [{code: A1, name: X, kind: private, "
        "endpoints: [{name: inbox, type: inbox, acceptance: true}]}]"
    )
    endpoint = directory.institutions[0].endpoints[0]
    assert isinstance(endpoint, InboxEndpoint)
    assert endpoint.acceptance


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x/", "http"),
        ("http://u:p@x/", "password"),
        ("http://x/?a=1", "query"),
        ("http://x:99999/", "port"),
    ],
)
def test_a_dicomweb_base_must_be_a_plain_url(url: str, words: str) -> None:
    endpoint = f"{{name: w, type: dicomweb, url: '{url}'}}"
    text = f"institutions: [{{code: A1, name: X, kind: ai, endpoints: [{endpoint}]}}]"
    assert words in findings(text)[0]


def test_the_published_schema_is_current_and_accepts_the_example(example: str) -> None:
    committed = (REPOSITORY / "schemas" / "directory.schema.json").read_text()
    assert committed == render_schema(), "schemas/directory.schema.json is stale: make schemas"
    validator = jsonschema.Draft202012Validator(json.loads(committed))
    as_json = json.loads(json.dumps(yaml.safe_load(example), default=str))
    validator.validate(as_json)
    validator.validate(yaml.safe_load(to_yaml(parse(example))))
    as_json["institutions"][0]["kind"] = "nsh"
    assert not validator.is_valid(as_json)


@given(
    networks=st.lists(
        st.tuples(
            st.sampled_from(["A1", "B1", "C1"]),
            st.integers(min_value=0, max_value=15),
            st.integers(min_value=28, max_value=32),
        ),
        min_size=2,
        max_size=6,
    )
)
def test_overlaps_are_found_as_by_comparing_every_pair(networks: list[tuple[str, int, int]]) -> None:
    ranges = [(code, ip_network(f"10.0.0.{last}/{prefix}", strict=False)) for code, last, prefix in networks]
    overlap = any(one != other and a.overlaps(b) for one, a in ranges for other, b in ranges)
    by_code = {code: [str(network) for owner, network in ranges if owner == code] for code, _ in ranges}
    text = json.dumps(
        {
            "institutions": [
                {
                    "code": code,
                    "name": code,
                    "kind": "nhs",
                    "senders": [{"ae_title": "P", "networks": [network]} for network in found],
                }
                for code, found in by_code.items()
            ]
        }
    )
    if overlap:
        assert all("fits" in one for one in findings(text))
    else:
        assert parse(text)
