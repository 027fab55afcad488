"""dicom-rs: its command-line tools, built by cargo once and kept in the cache."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from imex.local.cache import PartUnavailable, cached, run_shown
from imex.local.ports import free_ports
from imex.testing.interop.peer import KeepsFiles, Node, PeerTls, Program, run

VERSION = "0.10.1"
_TOOLS = (
    ("dicom-storescp", ("--features", "tls")),
    ("dicom-storescu", ("--no-default-features", "--features", "tls")),  # without transcoding: as it stands
    ("dicom-echoscu", ()),
)


def tools() -> Path:
    """The folder with the programs, built where it is not there yet. Raises PartUnavailable."""

    def build(target: Path) -> None:
        cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
        if cargo is None:
            raise PartUnavailable("dicom-rs needs cargo, and there is none")
        with tempfile.TemporaryDirectory() as scratch:
            environment = {"CARGO_BUILD_JOBS": "1", "CARGO_TARGET_DIR": scratch}
            for crate, features in _TOOLS:
                install = [cargo, "install", "--quiet", "--locked", "--root", str(target)]
                run_shown(
                    f"building {crate} {VERSION}",
                    ["nice", "-n", "19", *install, crate, "--version", VERSION, *features],
                    environment,
                )

    return cached(f"interop/dicom-rs-{VERSION}", build) / "bin"


def _secured(tls: PeerTls | None) -> list[str]:
    if tls is None:
        return []
    return ["--tls", "--key", str(tls.key), "--cert", str(tls.certificate), "--add-certs", str(tls.ca)]


def _titles(node: Node) -> list[str]:
    return ["--calling-ae-title", node.calling_ae, "--called-ae-title", node.called_ae]


class DicomRsSender:
    """`dicom-storescu` and `dicom-echoscu`."""

    name = "dicom-rs"
    no_tls = ""
    encodes_anew = ""
    omits: Mapping[str, str] = {"Deflated Explicit VR Little Endian": "the sender cannot read it"}

    def version(self) -> str:
        """That of all its tools."""
        return f"dicom-rs {VERSION}"

    def echo(self, node: Node, folder: Path) -> None:
        """`dicom-echoscu`, which has no TLS."""
        if node.tls is not None:
            raise NotImplementedError("dicom-echoscu has no TLS")
        run([str(tools() / "dicom-echoscu"), *_titles(node), f"{node.host}:{node.port}"])

    def send(self, files: Sequence[Path], node: Node, folder: Path) -> None:
        """All in one association."""
        host = "localhost" if node.tls is not None else node.host
        options = [*_titles(node), *_secured(node.tls), "--fail-first"]
        run([str(tools() / "dicom-storescu"), *options, f"{host}:{node.port}", *map(str, files)])


class DicomRsReceiver:
    """`dicom-storescp`."""

    name = "dicom-rs"
    omits: Mapping[str, str] = {"Deflated Explicit VR Little Endian": "the receiver refuses it"}

    def version(self) -> str:
        """That of all its tools."""
        return f"dicom-rs {VERSION}"

    @contextmanager
    def receiving(self, ae_title: str, folder: Path, tls: PeerTls | None) -> Iterator[KeepsFiles]:
        """Writes a file for each instance."""
        (port,) = free_ports(1)
        kept = folder / "kept"
        kept.mkdir(parents=True)
        options = ["--non-blocking", "--promiscuous", "--calling-ae-title", ae_title]
        where = ["-o", str(kept), "-p", str(port)]
        argv = [str(tools() / "dicom-storescp"), *_secured(tls), *options, *where]
        with Program(argv, port, folder / "storescp.log").running():
            yield KeepsFiles(port, kept)
