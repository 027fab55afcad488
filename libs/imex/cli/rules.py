"""`imex rules test`: which rule would fire for a file, and why."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from imex.directory import DirectoryIndex, RuleMatch, StudyFacts


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Standing rules.", no_args_is_help=True)
    app.callback()(_group)
    app.command("test", help="Which rule would fire for files of one study, and why. Sends nothing.")(test)
    return app


def _group() -> None:
    """Standing rules."""


def test(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.dcm…", help="Instances of one study.")],
    source: Annotated[
        str | None, typer.Option("--from", help="Institution that would send; needed where several could.")
    ] = None,
    directory_file: Annotated[
        str | None, typer.Option("--directory", help="A directory file, instead of the directory in force.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge by the directory in force; pure, nothing is sent."""
    from imex.directory import matching_rules

    index = _index(directory_file)
    facts = _facts(files, _source(index, source))
    told = matching_rules(index, facts)
    items = [_told(index, facts, one) for one in told]
    if as_json:
        print_json({"source": facts.source, "modalities": sorted(facts.modalities), "items": items})
        return
    print(f"From {facts.source}, modalities {', '.join(sorted(facts.modalities)) or '(none)'}:")
    for item in items:
        print(f"{'FIRES' if item['matched'] else 'no   '}  {item['rule']}")
        for reason in item["reasons"]:
            print(f"         {reason}")
        for share in item["shares"]:
            allowed = "allowed" if share["agreement"] else "REFUSED"
            print(f"         → {share['recipient']} ({item['priority']}): {allowed}, {share['words']}")
    if not any(item["matched"] for item in items):
        print("No rule would fire: the study would be listed to its sender, to be shared by hand.")


def _told(index: "DirectoryIndex", facts: "StudyFacts", one: "RuleMatch") -> dict[str, Any]:
    from imex.directory import covering_agreement

    shares = []
    for recipient in one.recipients:
        covered = covering_agreement(
            index, facts.source, recipient, one.rule.purpose, datetime.now(UTC), facts.modalities
        )
        shares.append(
            {
                "recipient": recipient,
                "agreement": covered.agreement.id if covered.agreement else None,
                "words": covered.words,
            }
        )
    return {
        "rule": one.rule.id,
        "matched": one.matched,
        "reasons": list(one.reasons),
        "purpose": one.rule.purpose,
        "priority": one.rule.priority.value,
        "shares": shares,
    }


def _index(file: str | None) -> "DirectoryIndex":
    from imex.cli import directory
    from imex.cli.client import Api
    from imex.directory import DirectoryIndex

    if file is not None:
        return DirectoryIndex(directory.read_file(file))
    with Api() as api:
        current, version = directory.fetch(api)
    return DirectoryIndex(current, version)


def _source(index: "DirectoryIndex", stated: str | None) -> str:
    if stated is not None:
        if stated not in index.institutions:
            raise Failure(f"{stated!r} is no institution of the directory: {', '.join(index.institutions)}.")
        return stated
    senders = [code for code, one in index.institutions.items() if one.senders]
    if len(senders) != 1:
        raise Failure(f"Say who would send: --from CODE, one of {', '.join(senders) or 'none'}.")
    return senders[0]


def _facts(files: list[Path], source: str) -> "StudyFacts":
    from imex.directory import StudyFacts

    read = [_read(path) for path in files]
    studies = {str(one.get("StudyInstanceUID", "")) for one in read}
    if len(studies) > 1:
        raise Failure(f"The files belong to {len(studies)} studies; a rule judges one study as a whole.")

    def values(name: str) -> frozenset[str]:
        return frozenset(text for one in read if (text := str(one.get(name, "") or "").strip()))

    return StudyFacts(
        source,
        modalities=values("Modality"),
        sop_classes=values("SOPClassUID"),
        body_parts=values("BodyPartExamined"),
        description=next(iter(sorted(values("StudyDescription"))), ""),
        series_descriptions=values("SeriesDescription"),
        called_ae="IMEX",
    )


def _read(path: Path) -> Any:
    import pydicom
    from pydicom.errors import InvalidDicomError

    wanted = [
        "StudyInstanceUID",
        "Modality",
        "SOPClassUID",
        "BodyPartExamined",
        "StudyDescription",
        "SeriesDescription",
        "SpecificCharacterSet",
    ]
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
    except InvalidDicomError:
        raise Failure(f"{path} is no DICOM file.") from None
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror or 'it ends too early'}") from None
