"""`imex rules`: which rule would fire for a file and why; what a changed directory would have decided."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, local_time, print_json

if TYPE_CHECKING:
    from imex.directory import DirectoryIndex, StudyFacts


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Standing rules.", no_args_is_help=True)
    app.callback()(_group)
    app.command("test", help="Which rule would fire for files of one study, and why. Sends nothing.")(test)
    app.command("replay", help="How a changed directory would have routed past studies. Sends nothing.")(
        replay
    )
    return app


def _group() -> None:
    """Standing rules."""


def test(  # noqa: PLR0917  what can be asked, each with its option
    files: Annotated[list[Path], typer.Argument(metavar="FILE.dcm…", help="Instances of one study.")],
    source: Annotated[
        str | None, typer.Option("--from", help="Institution that would send; needed where several could.")
    ] = None,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="As sent to this recipient instead of to the rules.")
    ] = None,
    directory_file: Annotated[
        str | None, typer.Option("--directory", help="A directory file, instead of the directory in force.")
    ] = None,
    at: Annotated[
        datetime | None, typer.Option("--at", help="When it would come in, in UTC; now where left out.")
    ] = None,
    opted_out: Annotated[
        bool, typer.Option("--opted-out", help="As if the person had chosen the national data opt-out.")
    ] = False,
    sensitive: Annotated[
        bool, typer.Option("--sensitive", help="As if the record were marked as sensitive.")
    ] = False,
    came_from: Annotated[
        list[str] | None, typer.Option("--came-from", help="As if it had come from there through Imex.")
    ] = None,
    held_by: Annotated[
        list[str] | None, typer.Option("--held-by", help="As if that institution had it already.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge by the directory in force; pure, nothing is sent."""
    from imex.cli import rules_told
    from imex.directory import Marks
    from imex.sharing.decisions import Background, Question
    from imex.sharing.explained import as_json as plain
    from imex.sharing.explained import explain

    index = _index(directory_file)
    facts = _facts(files, _source(index, source))
    explained = explain(
        index,
        Question(
            study_uid="",
            facts=facts,
            at=at.replace(tzinfo=UTC) if at else datetime.now(UTC),
            passage=1,
            standing=not to,
            recipients=frozenset(_known(index, to)),
            background=Background(
                Marks(opted_out=opted_out, sensitive=sensitive),
                passed_through=frozenset(_known(index, came_from)),
                held_by=frozenset(_known(index, held_by)),
            ),
        ),
    )
    if as_json:
        print_json(plain(explained))
        return
    for line in rules_told.lines(explained):
        print(line)


def replay(
    file: Annotated[str, typer.Argument(metavar="FILE.yaml", help="The changed directory; - for stdin.")],
    since: Annotated[
        str, typer.Option("--since", help="How far to look back: 7d, 12h, 30m.", metavar="7d")
    ] = "7d",
    as_json: AsJson = False,
) -> None:
    """Ask a changed directory what was asked before, and print the difference, study by study."""
    from imex.cli import directory
    from imex.cli.client import Api

    days = _days(since)
    text = directory.read_text(file)
    with Api() as api:
        answer = api.request(
            "POST",
            "/rules/replay",
            params={"days": days},
            content=text.encode(),
            headers={"Content-Type": directory.YAML},
            timeout=_REPLAY_S,
        ).json()
    if as_json:
        print_json(answer)
        return
    for one in answer["items"]:
        print(f"{one['source']} {one['study_uid']} ({local_time(one['at'])})")
        for change in one["changes"]:
            print(f"  {change}")
    if answer["changed"] > len(answer["items"]):
        print(f"… and {answer['changed'] - len(answer['items'])} more studies")
    print(
        f"{answer['changed']} of {answer['studies']} studies ({answer['decisions']} decisions since "
        f"{local_time(answer['since'])}) would have been decided otherwise."
    )


_REPLAY_S = 600.0
_UNITS = {"d": 1.0, "h": 1 / 24, "m": 1 / 1440}


def _days(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdecimal() or not int(number):
        raise Failure(f"{text!r} is no time to look back. Say 7d (days), 12h (hours) or 30m (minutes).")
    return int(number) * _UNITS[unit]


def _known(index: "DirectoryIndex", codes: list[str] | None) -> list[str]:
    for code in codes or ():
        if code not in index.institutions and code not in index.groups:
            raise Failure(f"{code!r} is no institution or group of the directory.")
    return codes or []


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
