"""The conformance statement says what the code says, and leaves nothing out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imex.conformance.answers import REJECTIONS, STORE_ANSWERS
from imex.conformance.facts import facts, storage_classes
from imex.conformance.statement import render
from imex.dicom import part10
from imex.dimse import Reject, identity
from imex.dimse.command import ERROR_COMMENT_CHARS
from imex.dimse.sop_classes import is_storage
from imex.dimse.statuses import Status
from imex.ingest.watermark import Mark

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "conformance.md"
INGEST = ROOT / "services" / "imex" / "ingest"
DIMSE = ROOT / "libs" / "imex" / "dimse"
COMMENTS = [answer.comment for answer in STORE_ANSWERS if answer.comment]
NOT_C_STORE = {
    "C-ECHO needs the Verification SOP class",
    "operation {field:04X} is not served here",
}
"""Comments of answers to other operations."""


def texts(path: Path) -> Iterator[str]:
    """Every string of a module; what is filled in shows as the expression in braces."""
    tree = ast.parse(path.read_text())
    pieces = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield ast.unparse(node).removeprefix("f")[1:-1]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
            yield node.value


def test_the_document_is_rendered_from_the_code_as_it_is() -> None:
    assert DOCUMENT.read_text() == render(), "run python -m imex.conformance"


@pytest.mark.parametrize("comment", COMMENTS)
def test_an_error_comment_fits_into_its_element(comment: str) -> None:
    assert len(comment) <= ERROR_COMMENT_CHARS


def test_every_out_of_resources_of_ingest_is_in_the_statement() -> None:
    said = {text for path in INGEST.rglob("*.py") for text in texts(path) if text.startswith("out of reso")}
    mark = Mark(0.5)
    mark.read(0.6)
    nearly_full = str(mark.refusal("bulk")).replace("60", "N")
    said = {text.replace("{error}", nearly_full) for text in said}
    assert said == {comment for comment in COMMENTS if comment.startswith("out of resources")}


def test_every_other_comment_of_the_service_is_in_the_statement() -> None:
    tree = ast.parse((DIMSE / "serving.py").read_text())
    statuses = {
        node.args[0].attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "StoreResponse"
        and isinstance(node.args[0], ast.Attribute)
        and isinstance(node.args[0].value, ast.Name)
        and node.args[0].value.id == "Status"
    }
    known = {answer.status.name for answer in STORE_ANSWERS} | {"UNRECOGNIZED_OPERATION"}
    assert statuses <= known
    said = {text.replace("{MAX_UID_CHARS}", "64") for text in texts(DIMSE / "serving.py")}
    own = {answer.comment for answer in STORE_ANSWERS if not _elsewhere(answer.status)}
    assert own <= said
    assert said >= NOT_C_STORE


def _elsewhere(status: Status) -> bool:
    return status in {Status.SUCCESS, Status.OUT_OF_RESOURCES, Status.NOT_AUTHORIZED}


def test_every_rejection_that_the_code_knows_is_in_the_statement() -> None:
    known = {
        (reject.result, reject.source, reject.reason)
        for reject in (
            Reject.calling_ae_not_recognised(),
            Reject.called_ae_not_recognised(),
            Reject.temporary_congestion(),
            Reject.local_limit_exceeded(),
        )
    }
    literal = re.findall(
        r"AssociateReject\((\d), (\d), (\d)\)",
        "".join(path.read_text() for path in DIMSE.glob("*.py")),
    )
    known |= {(int(result), int(source), int(reason)) for result, source, reason in literal}
    assert known == {(each.result, each.source, each.reason) for each in REJECTIONS}


def test_the_storage_classes_are_those_that_are_taken() -> None:
    assert all(is_storage(each.uid) for each in storage_classes())
    names = [each.name for each in storage_classes()]
    assert not any("FIND" in name or "MOVE" in name or "GET" in name or "Directory" in name for name in names)
    assert {"CT Image Storage", "Hanging Protocol Storage", "Color Palette Storage"} <= set(names)


def test_one_implementation_names_itself_in_files_as_on_the_network() -> None:
    assert part10.IMPLEMENTATION_CLASS_UID == identity.IMPLEMENTATION_CLASS_UID
    assert part10.IMPLEMENTATION_VERSION == identity.IMPLEMENTATION_VERSION


def test_every_fact_is_used() -> None:
    template = (ROOT / "libs" / "imex" / "conformance" / "statement.md.j2").read_text()
    used = set(re.findall(r"\b[a-z_]+\b", " ".join(re.findall(r"\{[{%](.*?)[}%]\}", template))))
    assert facts().keys() <= used
