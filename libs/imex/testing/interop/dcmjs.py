"""dcmjs-dimse on Node.js: installed by npm once and kept in the cache, driven by two scripts of ours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imex.local.cache import PartUnavailable, cached, run_shown
from imex.local.ports import free_ports
from imex.testing.dimse import Instance
from imex.testing.interop.dcmtk import PROPOSE
from imex.testing.interop.peer import Node, PeerTls, Program, run

VERSION = "0.3.3"
_DEFLATED = "Deflated Explicit VR Little Endian"
_PRIVATE = "private elements are left out by the sender"
_OFFSETS = "an offset table is put in by the sender"
_RECEIVED = [syntax for syntax in PROPOSE if syntax != "1.2.840.10008.1.2.1.99"]


def _package() -> Path:
    """The folder with `node_modules`, installed where it is not there yet. Raises PartUnavailable."""

    def install(target: Path) -> None:
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            raise PartUnavailable("dcmjs-dimse needs Node.js and npm, and they are not there")
        target.mkdir()
        (target / "package.json").write_text('{"private": true}\n')
        quiet = ["--no-fund", "--no-audit", "--ignore-scripts", "--save-exact", "--silent"]
        argv = ["nice", "-n", "19", npm, "install", "--prefix", str(target), *quiet, f"dcmjs-dimse@{VERSION}"]
        run_shown(f"installing dcmjs-dimse {VERSION}", argv)

    return cached(f"interop/dcmjs-dimse-{VERSION}", install)


def tools() -> None:
    """Have the package. Raises PartUnavailable."""
    _package()


def _script(name: str, task: Mapping[str, object]) -> tuple[list[str], dict[str, str]]:
    script = Path(__file__).with_name(name)
    return ["node", str(script), json.dumps(task)], {"NODE_PATH": str(_package() / "node_modules")}


def _secured(tls: PeerTls | None) -> dict[str, object]:
    if tls is None:
        return {}
    return {"ca": str(tls.ca), "certificate": str(tls.certificate), "key": str(tls.key)}


def _version() -> str:
    return f"dcmjs-dimse {VERSION} on Node.js {run(['node', '--version']).strip().removeprefix('v')}"


class DcmjsSender:
    """Its client, which reads each file into an object and encodes that anew."""

    name = "dcmjs-dimse"
    no_tls = ""
    encodes_anew = "Encoded anew in Implicit VR Little Endian by the sender."
    omits: Mapping[str, str] = {
        "Explicit VR Little Endian": _PRIVATE,
        _DEFLATED: "not a raw deflate stream as PS3.5 A.5 wants it",
        "JPEG Extended": _PRIVATE,
        "JPEG Lossless": _OFFSETS,
        "JPEG-LS Lossless": _OFFSETS,
        "JPEG 2000 Lossless": _OFFSETS,
        "JPEG 2000": _PRIVATE,
        "structured report": "its character set is renamed by the sender",
        "segmentation": "the sender cannot read pixels of 1 bit",
        "ECG waveform": _PRIVATE,
    }

    def version(self) -> str:
        """With Node.js's."""
        return _version()

    def echo(self, node: Node, folder: Path) -> None:
        """A C-ECHO."""
        self.send([], node, folder)

    def send(self, files: Sequence[Path], node: Node, folder: Path) -> None:
        """All in one association."""
        host = "localhost" if node.tls is not None else node.host
        titles = {"calling": node.calling_ae, "called": node.called_ae, "host": host, "port": node.port}
        task = {**titles, "files": [str(path) for path in files], **_secured(node.tls)}
        run(*_script("dcmjs_scu.cjs", task))


@dataclass(frozen=True)
class _Listening:
    port: int
    folder: Path

    def instances(self) -> list[Instance]:
        found = []
        for described in self.folder.glob("*.json"):
            said = json.loads(described.read_text())
            assert said["parsed"] == said["sop_instance"], said
            data = described.with_suffix(".dataset").read_bytes()
            found.append(Instance(said["sop_class"], said["sop_instance"], said["transfer_syntax"], data))
        return found


class DcmjsReceiver:
    """Its server."""

    name = "dcmjs-dimse"
    omits: Mapping[str, str] = {_DEFLATED: "the receiver cannot inflate it"}

    def version(self) -> str:
        """With Node.js's."""
        return _version()

    @contextmanager
    def receiving(self, ae_title: str, folder: Path, tls: PeerTls | None) -> Iterator[_Listening]:
        """Takes what is proposed in a transfer syntax that the matrix has."""
        (port,) = free_ports(1)
        kept = folder / "kept"
        kept.mkdir(parents=True)
        task = {"port": port, "called": ae_title, "folder": str(kept), "syntaxes": _RECEIVED}
        argv, environment = _script("dcmjs_scp.cjs", {**task, **_secured(tls)})
        with Program(argv, port, folder / "scp.log", environment).running():
            yield _Listening(port, kept)
