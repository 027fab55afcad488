"""Reading a kept document, and finding rules without looking at the others."""

import json

import pytest

from imex.directory import Directory, DirectoryIndex, StudyFacts, digest, parse
from imex.directory.document import canonical
from imex.directory.loading import UnreadableDocument, load
from imex.directory.selection import source_named


def test_a_kept_document_is_the_directory_that_it_was_made_of(example: str) -> None:
    directory = parse(example)
    index = load(canonical(directory))
    assert index.directory == directory
    assert index.version == digest(directory)
    assert canonical(index.directory) == canonical(directory)


def test_an_empty_directory_is_one_too() -> None:
    assert load(canonical(Directory())).directory == Directory()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{",
        b'{"rules":[',
        b'{"rules":[{]}',
        b'{"rules":[{"id":"r1"}]}',
        b'{"kings":[]}x',
        b'{"kings":[{}]}',
        b'{"institutions":{}}',
        b"\xff\xfe",
        json.dumps({"institutions": []}, indent=1).encode(),
    ],
)
def test_what_is_no_canonical_document_is_refused(document: bytes) -> None:
    with pytest.raises(UnreadableDocument):
        load(document)


@pytest.mark.parametrize(
    ("expression", "source"),
    [
        ('source == "RQM" && "CT" in study.modalities', "RQM"),
        ('"CT" in study.modalities && source=="RQM"', "RQM"),
        ("'RQM' == source", "RQM"),
        ('study.modalities.exists(m, m == "CT" || m == "MR") && source == "RQM"', "RQM"),
        ('source == "RQM" || "CT" in study.modalities', None),
        ('source == "RQM" && "CT" in study.modalities || "MR" in study.modalities', None),
        ('source == "RQM" ? true : false', None),
        ('(source == "RQM" && true)', None),
        ('source != "RQM"', None),
        ('!(source == "RQM")', None),
        ('"&& source == \\"RQM\\" &&" != ""', None),
        ("study.description == '&& source == \"RQM\" &&'", None),
        ('source == "RQM" // && "CT" in study.modalities', None),
        ('source_kind == "nhs"', None),
    ],
)
def test_the_source_that_a_condition_demands_is_read_off_only_where_it_is_sure(
    expression: str, source: str | None
) -> None:
    assert source_named(expression) == source


def test_only_rules_that_could_match_are_looked_at() -> None:
    rules = "".join(
        f"- {{id: r{number}, match: {{source: A{number % 20}, modality: {'CT' if number % 2 else 'MR'}, "
        f"body_part: P{number}}}, to: B}}\n"
        f"- {{id: c{number}, when: 'source == \"A{number}\" && true', to: B}}\n"
        for number in range(200)
    )
    codes = [f"A{number}" for number in range(200)] + ["B"]
    institutions = "".join(f"- {{code: {code}, name: X, kind: nhs}}\n" for code in codes)
    index = DirectoryIndex(parse(f"institutions:\n{institutions}rules:\n{rules}"))
    study = StudyFacts("A3", modalities=frozenset({"CT"}), body_parts=frozenset({"P23", "P4"}))
    assert [filed.rule.id for filed in index.candidates(study)] == ["c3", "r23"]
