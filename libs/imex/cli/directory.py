"""`imex directory`: check, compare, apply and export the directory."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from imex.cli.client import Api
    from imex.directory import Directory

YAML = "text/yaml"
JSON = "application/json"
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A directory file; - for stdin or stdout.")]


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Check, compare, apply and export the directory.", no_args_is_help=True)
    app.command("check", help="Check a file, without a stack.")(check)
    app.command("diff", help="What applying a file would change.")(diff)
    app.command("apply", help="Make a file the whole directory; what it does not name is retired.")(apply)
    app.command("export", help="Write the directory in force to a file that apply accepts unchanged.")(export)
    return app


def check(file: FileArgument, as_json: AsJson = False) -> None:
    """Check a file, without a stack. Warnings are what is accepted, but cannot be meant."""
    from imex.directory import digest, inspect

    with _explained(file):
        inspected = inspect(read_text(file), datetime.now(UTC))
    directory = inspected.directory
    warnings = [{"line": w.line, "field": w.field, "message": w.message} for w in inspected.warnings]
    if as_json:
        print_json({"version": digest(directory), "warnings": warnings})
        return
    _print_warnings(warnings)
    counts = ", ".join(
        f"{len(part)} {name}"
        for name, part in (
            ("institutions", directory.institutions),
            ("groups", directory.groups),
            ("agreements", directory.agreements),
            ("rules", directory.rules),
        )
    )
    print(f"{_spelt(file)} is valid: {counts}; version {digest(directory)}")


def diff(file: FileArgument, as_json: AsJson = False) -> None:
    """What applying a file would change."""
    from imex.cli.client import Api
    from imex.directory import digest
    from imex.directory.diff import diff_documents
    from imex.directory.document import as_document

    directory = read_file(file)
    with Api() as api:
        current, base = _document(api)
    changes = diff_documents(current, as_document(directory))
    if as_json:
        items = [{"kind": c.kind, "path": c.path, "before": c.before, "after": c.after} for c in changes]
        print_json({"items": items, "next": None, "base": base, "version": digest(directory)})
        return
    for change in changes:
        print(change.words)
    if not changes:
        print("No change.")


def apply(
    file: FileArgument,
    base: Annotated[
        str | None,
        typer.Option(help="Version that the file was made from; refused where another is in force."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a file the whole directory; what it does not name is retired."""
    from imex.cli.client import Api
    from imex.directory.diff import diff_documents
    from imex.directory.document import as_document

    text = read_text(file)
    directory = _parsed(file, text)
    with Api() as api:
        current, version = _document(api)
        answer = put(api, text, base or version)
        refresh_credentials(api)
    if as_json:
        print_json(answer)
        return
    _print_warnings(answer.get("warnings", []))
    for change in diff_documents(current, as_document(directory)):
        print(change.words)
    done = "is in force" if answer.get("changed", True) else "was in force already; nothing changed"
    print(f"Version {answer['version']} {done}.")


def export(file: FileArgument) -> None:
    """Write the directory in force to a file."""
    from imex.cli.client import Api

    with Api() as api:
        text = api.request("GET", "/directory", headers={"Accept": YAML}).text
    if file == "-":
        sys.stdout.write(text)
        return
    try:
        Path(file).write_text(text)
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}") from None


def read_file(file: str) -> "Directory":
    """A directory file, read and checked. Raises ``Failure`` with every finding."""
    return _parsed(file, read_text(file))


def fetch(api: "Api") -> "tuple[Directory, str]":
    """The directory in force and its version. Raises ``Failure``."""
    from imex.directory.loading import UnreadableDocument, load

    answer, stated = _in_force(api)
    try:
        index = load(answer, stated or None)
    except UnreadableDocument:
        raise Failure(
            "The directory in force is of another release; use the imex of the stack's own release."
        ) from None
    return index.directory, index.version


def _document(api: "Api") -> tuple[dict[str, Any], str]:
    """The document in force as plain values, and its version. Raises ``Failure``."""
    answer, stated = _in_force(api)
    document: dict[str, Any] = json.loads(answer)
    return document, stated


def _in_force(api: "Api") -> tuple[bytes, str]:
    answer = api.request("GET", "/directory", headers={"Accept": JSON})
    return answer.content, answer.headers.get("ETag", "").removeprefix("W/").strip('"')


def put(api: "Api", text: str, base: str) -> dict[str, Any]:
    """Apply a file on top of the version ``base``. Raises ``Failure``."""
    headers = {"Content-Type": YAML, "If-Match": f'"{base}"'}
    answer: dict[str, Any] = api.request("PUT", "/directory", content=text.encode(), headers=headers).json()
    return answer


def refresh_credentials(api: "Api") -> None:
    """On a local stack: ``tokens`` and ``accounts`` in ``stack.json`` are those of the directory in force."""
    if api.where.home is None:
        return
    from imex.local import credentials
    from imex.local.home import Home

    credentials.refresh(Home(api.where.home, default=False))


def _print_warnings(warnings: list[dict[str, Any]]) -> None:
    from imex.directory import DirectoryError

    for one in warnings:
        print(f"warning: {DirectoryError(one['line'], one['field'], one['message'])}", file=sys.stderr)


def _parsed(name: str, text: str) -> "Directory":
    from imex.directory import parse

    with _explained(name):
        return parse(text)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns every finding into the words of a ``Failure``."""
    from imex.directory import DirectoryErrors

    try:
        yield
    except DirectoryErrors as errors:
        count = len(errors.errors)
        raise Failure(
            f"{_spelt(name)} has {count} error{'s' if count > 1 else ''}; nothing was changed:",
            *(f"  {error}" for error in errors.errors),
        ) from None


def read_text(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise Failure(f"{_spelt(file)} is not UTF-8: line {line}") from None


def _spelt(file: str) -> str:
    return "standard input" if file == "-" else file
