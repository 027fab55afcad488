"""`imex simulate`: a PACS or a sender that misbehaves on demand, to try a connection out. Needs no stack."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imex.cli.failure import Failure
from imex.cli.output import print_json, print_table

if TYPE_CHECKING:
    import ssl

    from imex.simulation.options import Options

Failures = Annotated[
    str, typer.Option("--failure", metavar="NAME[,NAME]", help="How to misbehave; --list has the names.")
]
Listed = Annotated[
    bool, typer.Option("--list", help="What there is to misbehave with, and what is expected.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


class Type(StrEnum):
    """What a simulated PACS speaks."""

    DICOM = "dicom"
    DICOMWEB = "dicomweb"


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(
        help="A PACS or a sender that misbehaves on demand, to try a connection out.", no_args_is_help=True
    )
    app.command("pacs", help="Run a PACS that receives, and misbehaves as it is told.")(pacs)
    app.command("sender", help="Send a study of nobody, or files, and misbehave as told.")(sender)
    return app


def pacs(  # noqa: PLR0917  each is an option
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 11113,
    ae_title: Annotated[str, typer.Option(help="Associations to another one are rejected.")] = "SIMULATED",
    failure: Failures = "",
    after: Annotated[int, typer.Option(min=0, help="Behave well so many times first.")] = 0,
    times: Annotated[int | None, typer.Option(min=1, help="Misbehave so many times; without it, on.")] = None,
    store: Annotated[Path | None, typer.Option(help="Folder for what is kept.")] = None,
    api: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Tell on this port of 127.0.0.1 what was received.")
    ] = None,
    type_: Annotated[Type, typer.Option("--type", help="What it speaks.")] = Type.DICOM,
    host: Annotated[str, typer.Option(help="To listen on; 0.0.0.0 for other machines.")] = "127.0.0.1",
    delay: Annotated[float, typer.Option(min=0, help="Seconds of a late answer or instance.")] = 300.0,
    rate: Annotated[float, typer.Option(min=1, help="Bytes a second of a slow reader.")] = 1000.0,
    commit_to: Annotated[
        str, typer.Option(metavar="AE@HOST:PORT", help="Report storage commitment there, anew connected.")
    ] = "",
    tls_certificate: Annotated[Path | None, typer.Option(help="With --tls-key: speak TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key.")] = None,
    list_: Listed = False,
    as_json: AsJson = False,
) -> None:
    """Run a PACS that receives, and misbehaves as it is told."""
    from imex.simulation.failures import UnknownFailure, failures_of, named
    from imex.simulation.options import Options

    if list_:
        rows = [
            {"name": one.name, "does": one.does, "sender": one.sender} for one in failures_of(type_.value)
        ]
        _list(rows, "sender", "what a good sender does", as_json)
        return
    names = _names(failure)
    try:
        named(names, type_.value)
    except UnknownFailure as error:
        raise Failure(f"{error}.", "See: imex simulate pacs --list") from None
    options = Options(
        ae_title=ae_title,
        type=type_.value,
        host=host,
        port=port,
        api_port=api,
        store=store,
        delay_s=delay,
        rate=rate,
        commit_to=_node(commit_to) if commit_to else None,
        tls=_tls(tls_certificate, tls_key),
    )
    _run(options, names, after, times)


def _run(options: "Options", names: list[str], after: int, times: int | None) -> None:
    import asyncio

    from imex.simulation.pacs import SimulatedPacs, simulated_pacs

    def told(one: SimulatedPacs) -> None:
        who = one.url if options.type == "dicomweb" else f"{options.ae_title} at {options.host}:{one.port}"
        print(f"Simulated PACS: {who}", flush=True)
        print(f"Misbehaves: {', '.join(names) or 'not at all'}", flush=True)
        if one.api_port is not None:
            print(f"Told at: http://127.0.0.1:{one.api_port}/", flush=True)

    async def serve() -> None:
        async with simulated_pacs(*names, after=after, times=times, options=options) as one:
            told(one)
            await asyncio.Event().wait()

    try:
        asyncio.run(serve())
    except OSError as error:
        raise Failure(
            f"Port {options.port} of {options.host} cannot be listened on: {error.strerror}.",
            "Give another one with --port; 0 takes a free one.",
        ) from None


def sender(  # noqa: PLR0917  each is an option
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files or folders.")] = None,
    host: Annotated[str, typer.Option(help="Whom to send to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 11112,
    called: Annotated[str, typer.Option(help="AE title of whom to send to.")] = "IMEX",
    ae_title: Annotated[str, typer.Option(help="AE title to send as.")] = "SIMULATED",
    failure: Failures = "",
    images: Annotated[int, typer.Option(min=1, max=10_000, help="Of the study of nobody.")] = 4,
    delay: Annotated[float, typer.Option(min=0, help="Seconds before what is late.")] = 10.0,
    rate: Annotated[float, typer.Option(min=1, help="Bytes a second of a slow writer.")] = 1000.0,
    list_: Listed = False,
    as_json: AsJson = False,
) -> None:
    """Send a study of nobody, or files, and misbehave as told."""
    import asyncio

    from imex.dimse import DimseError
    from imex.simulation.sender import SENDER_FAILURES, Sending, read_files, send, study_of_nobody

    if list_:
        rows = [{"name": o.name, "does": o.does, "receiver": o.receiver} for o in SENDER_FAILURES]
        _list(rows, "receiver", "what a good receiver does", as_json)
        return
    names = frozenset(_names(failure))
    if unknown := names - {one.name for one in SENDER_FAILURES}:
        raise Failure(
            f"There is no failure {', '.join(sorted(unknown))}.", "See: imex simulate sender --list"
        )
    if paths and "wrong-identifiers" in names:
        raise Failure("wrong-identifiers needs the study of nobody: files are sent as they are.")
    try:
        instances = read_files(paths) if paths else study_of_nobody(images, names)
    except (OSError, ValueError) as error:
        raise Failure(f"{error}") from None
    how = Sending(
        host=host, port=port, calling_ae=ae_title, called_ae=called, failures=names, delay_s=delay, rate=rate
    )

    async def go() -> None:
        async for one in send(instances, how):
            line = {"sop_instance_uid": one.sop_instance_uid, "answer": one.answer}
            print(json.dumps(line) if as_json else f"{one.sop_instance_uid}  {one.answer}", flush=True)

    try:
        asyncio.run(go())
    except DimseError as error:
        raise Failure(f"Nothing more was sent: {error}.") from None


def _list(rows: list[dict[str, str]], who: str, title: str, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("name", "does", title), [(one["name"], one["does"], one[who]) for one in rows], none="None."
        )


def _names(failure: str) -> list[str]:
    return [name.strip() for name in failure.split(",") if name.strip()]


def _node(text: str) -> tuple[str, str, int]:
    ae_title, _, address = text.partition("@")
    host, _, port = address.rpartition(":")
    if not ae_title or not host or not port.isdecimal():
        raise Failure(f"{text!r} is no AE@HOST:PORT, such as IMEX@127.0.0.1:11112.")
    return ae_title, host, int(port)


def _tls(certificate: Path | None, key: Path | None) -> "ssl.SSLContext | None":
    import ssl

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise Failure("--tls-certificate and --tls-key go together.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Failure(f"The certificate or its key cannot be used: {error}.") from None
    return context
