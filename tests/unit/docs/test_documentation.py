"""What the documents name exists: links, files, make targets, commands, variables, metrics, tests."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings
from typer.main import get_command

from imex.cli.main import build
from imex.dimse.identity import IMPLEMENTATION_VERSION
from imex.events import EVENT_CLASSES, SERVICES, TOPICS
from imex.observability.names import all_metrics

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CONFIGURATION = ROOT / "docs" / "configuration.md"

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))

ROOTS = ("libs/", "services/", "tests/", "docs/", "deploy/", "schemas/", "benchmarks/", ".ci/")
NOT_YET = {"imex send", "imex rules replay"}
"""Commands that README names as missing."""
OTHER_VARIABLES = {
    "IMEX_API", "IMEX_TOKEN", "IMEX_HOME", "IMEX_PORTS", "IMEX_OBJECT_STORE", "IMEX_SCREENSHOTS",
    "IMEX_DICOM_PUBLISH", "IMEX_DICOM_TLS_PUBLISH", "IMEX_DICOM_TLS_FOLDER",
    "IMEX_PORTAL_DICOM_PUBLISH", "IMEX_PORTAL_DICOM_TLS_PUBLISH",
    "IMEX_DELIVERY_COMMITMENT_PUBLISH", "IMEX_DELIVERY_COMMITMENT_TLS_PUBLISH",
    "IMEX_INGEST_PROCESSES", "IMEX_DELIVERY_PROCESSES",
}  # fmt: skip
"""Read by the command, the local stack, tests and compose, not by a settings group."""


def spans(document: Path) -> list[str]:
    """What stands in backquotes, and the lines of code blocks."""
    text = document.read_text()
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return inline + [line.strip() for block in blocks for line in block.splitlines()]


def groups() -> Iterator[type[BaseSettings]]:
    """Every group of settings there is; one may stand with the part of a service that it is for."""
    services = [f"imex.{service}.settings" for service in SERVICES]
    shared = [f"imex.settings.{name}" for name in ("groups", "outbound", "stow")]
    for name in (*shared, *services, "imex.cli.setup"):
        package = f"{name.rpartition('.')[0]}."
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, type) and issubclass(value, BaseSettings) and _of(value, package):
                yield value


def _of(group: type[BaseSettings], package: str) -> bool:
    return group.__module__.startswith(package)


def variables() -> dict[str, str]:
    """Each variable and its default as the table shows it."""
    found = {}
    for group in groups():
        prefix = str(group.model_config.get("env_prefix", "")).upper()
        for name, field in group.model_fields.items():
            found[prefix + name.upper()] = shown(field.default)
    return found


def shown(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, tuple):
        default = ",".join(str(one) for one in default)
    return "empty" if default in ("", None, ()) else f"`{default}`"


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" not in target and not target.startswith("#"):
            assert (document.parent / target.partition("#")[0]).exists(), target


@each_document
def test_named_files_exist(document: Path) -> None:
    for span in spans(document):
        path = span.partition("::")[0]
        if path.startswith(ROOTS) and re.fullmatch(r"[\w./-]+", path):
            assert (ROOT / path).exists(), span


@each_document
def test_named_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for span in spans(document):
        for target in re.findall(r"^(?:[A-Z_]+=\S+ )*make ([a-z-]+)", span):
            assert target in targets, span


@each_document
def test_named_commands_exist(document: Path) -> None:
    top: Any = get_command(build())
    for span in spans(document):
        match = re.match(r"(?:\$ )?(?:\.venv/bin/)?imex ([a-z]+)(?: ([a-z]+))?", span)
        if match is None or " ".join(match.group(0).split()) in NOT_YET:
            continue
        command = top.commands.get(match.group(1))
        assert command is not None or match.group(1) == "setup", span
        if match.group(2) and hasattr(command, "commands"):
            assert match.group(2) in command.commands, span


@each_document
def test_named_variables_exist(document: Path) -> None:
    known = variables().keys() | OTHER_VARIABLES | {IMPLEMENTATION_VERSION}
    for name in re.findall(r"\bIMEX_[A-Z0-9_]*[A-Z0-9]\b", document.read_text()):
        assert name in known


@each_document
def test_named_metrics_and_dead_letters_exist(document: Path) -> None:
    metrics = {metric.name for metric in all_metrics()}
    dead = {topic.dead_letter for topic in TOPICS}
    for span in spans(document):
        if re.fullmatch(r"imex_[a-z]+_[a-z_]+", span):
            assert span in metrics, span
        if re.fullmatch(r"dead\.[a-z.]+", span):
            assert span in dead, span


@each_document
def test_named_event_types_and_modules_exist(document: Path) -> None:
    for span in spans(document):
        if re.fullmatch(r"imex(\.[a-z_0-9]+)+", span) and span not in EVENT_CLASSES:
            path = span.replace(".", "/")
            places = [
                ROOT / root / f"{path}{ending}" for root in ("libs", "services") for ending in ("", ".py")
            ]
            assert any(place.exists() for place in places), span


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(
        re.findall(r"^\| `(IMEX_[A-Z0-9_]+)` \| ([^|]+?) \|", CONFIGURATION.read_text(), re.MULTILINE)
    )
    documented = {name: default for name, default in rows.items() if name not in OTHER_VARIABLES}
    assert documented == variables()


def test_every_promise_names_tests_that_exist() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "README.md").read_text())
    assert named
    for file, test in named:
        assert test in functions_of(ROOT / "tests" / "e2e" / file), f"{file}::{test}"


def test_every_end_to_end_promise_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for test in functions_of(ROOT / "tests" / "e2e" / "test_promises.py"):
        if test.startswith("test_"):
            assert test in readme


def test_every_share_event_is_explained_to_partners() -> None:
    text = (ROOT / "docs" / "partners.md").read_text()
    for topic in TOPICS:
        if topic.name == "shares":
            for event in topic.events:
                assert f"`{event.type_name()}`" in text


def test_every_decision_is_in_the_index_and_numbered_in_order() -> None:
    folder = ROOT / "docs" / "adr"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text()) == records
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))
