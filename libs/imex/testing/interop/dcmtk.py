"""DCMTK's tools."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom.filereader

from imex.local import programs
from imex.local.ports import free_ports
from imex.testing.interop.peer import KeepsFiles, Node, PeerFailed, PeerTls, Program, run

PROPOSE: Mapping[str, str] = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""The option with which `storescu` sends a file in the transfer syntax that it has."""


def version() -> str:
    """Such as `DCMTK 3.6.7`."""
    found = re.search(r"v(\d+\.\d+\.\d+)", run([_tool("storescu"), "--version"]))
    return f"DCMTK {found.group(1)}" if found else "DCMTK"


def _tool(name: str) -> str:
    return programs.dcmtk(name) or name  # which says itself that it is not there


def _secured(tls: PeerTls | None) -> list[str]:
    return [] if tls is None else ["+tls", str(tls.key), str(tls.certificate), "+cf", str(tls.ca)]


def _call(program: str, node: Node, *options: str) -> list[str]:
    titles = ["-aet", node.calling_ae, "-aec", node.called_ae]
    return [_tool(program), *_secured(node.tls), *titles, *options, node.host, str(node.port)]


class Dcmsend:
    """`dcmsend`, which proposes what its files need."""

    name = "DCMTK dcmsend"
    no_tls = "dcmsend has no TLS"
    encodes_anew = ""
    omits: Mapping[str, str] = dict.fromkeys(
        ("Implicit VR Little Endian", "Explicit VR Big Endian", "RT plan"),
        "encoded anew in Explicit VR Little Endian by the sender",
    )

    def version(self) -> str:
        """DCMTK's."""
        return version()

    def echo(self, node: Node, folder: Path) -> None:
        """DCMTK has a tool for it."""
        run(_call("echoscu", node))

    def send(self, files: Sequence[Path], node: Node, folder: Path) -> None:
        """In one association or, beyond 128 contexts, several."""
        run([*_call("dcmsend", node, "--decompress-never"), *map(str, files)])


class Storescu:
    """`storescu`, which proposes the transfer syntaxes that it is told to."""

    name = "DCMTK storescu"
    no_tls = ""
    encodes_anew = ""
    omits: Mapping[str, str] = {}

    def version(self) -> str:
        """DCMTK's."""
        return version()

    def echo(self, node: Node, folder: Path) -> None:
        """DCMTK has a tool for it."""
        run(_call("echoscu", node))

    def send(self, files: Sequence[Path], node: Node, folder: Path) -> None:
        """One association for each transfer syntax; `storescu` stops at the first failure."""
        for syntax, option in PROPOSE.items():
            chosen = [str(path) for path in files if _syntax(path) == syntax]
            if chosen and "ignoring file" in (said := run([*_call("storescu", node, "-R", option), *chosen])):
                raise PeerFailed(said)


def _syntax(path: Path) -> str:
    return str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)


class Storescp:
    """`storescp`, which keeps what it gets bit by bit."""

    name = "DCMTK storescp"
    omits: Mapping[str, str] = {}

    def version(self) -> str:
        """DCMTK's."""
        return version()

    @contextmanager
    def receiving(self, ae_title: str, folder: Path, tls: PeerTls | None) -> Iterator[KeepsFiles]:
        """Takes all transfer syntaxes; each C-STORE is a file of its own."""
        (port,) = free_ports(1)
        kept = folder / "kept"
        kept.mkdir(parents=True)
        options = ["--bit-preserving", "--accept-all", "--unique-filenames", "-od", str(kept)]
        argv = [_tool("storescp"), *_secured(tls), "-aet", ae_title, *options, str(port)]
        with Program(argv, port, folder / "storescp.log").running():
            yield KeepsFiles(port, kept)
