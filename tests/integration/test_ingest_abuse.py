"""Ingest's ports abused in every way we know, with a good sender beside it, and its memory watched."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imex.local.certificates import Certificates
from imex.testing.abuse import ABUSES, Abuse, Target, legitimate_store
from imex.testing.bystander import Bystander

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Abused:
    """A process, its ports, and the commands of a good sender."""

    pid: int
    target: Target
    echoes: dict[str, list[str]]


@pytest.fixture(scope="module")
def abused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Abused]:
    folder = tmp_path_factory.mktemp("abused")
    command = [sys.executable, "-m", "tests.integration.abuse_child", str(folder)]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, env=os.environ)
    try:
        assert child.stdout is not None
        plain, tls = (int(port) for port in child.stdout.readline().split())
        target = Target(plain, tls, calling_ae="RQM_PACS", elsewhere="RT3_PACS")
        certificates = Certificates(folder)
        pair = certificates.client("RQM")
        echo = ["echoscu", "-aet", "RQM_PACS", "-aec", "IMEX", "-to", "20"]
        shown = ["+tls", str(pair.key), str(pair.certificate), "+cf", str(certificates.ca)]
        echoes = {
            "plain": [*echo, "127.0.0.1", str(target.port)],
            "TLS": [*echo, *shown, "127.0.0.1", str(target.tls_port)],
        }
        yield Abused(child.pid, target, echoes)
        assert child.poll() is None, "it died"
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__)
def test_abuse_harms_nobody_else(abuse: Abuse, abused: Abused) -> None:
    async def meanwhile() -> None:
        await abuse(abused.target)
        await legitimate_store(abused.target)

    with Bystander(abused.echoes, {"ingest": abused.pid}) as seen:
        asyncio.run(meanwhile())
    print(seen.report())
    seen.unharmed()
