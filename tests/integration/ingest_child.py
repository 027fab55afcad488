"""Ingest in a process of its own with a directory that is given; prints its DICOM ports, plain and TLS.

Arguments: settings as JSON, by group; a folder for certificates.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import uvloop

from imex.directory import DirectoryIndex, parse
from imex.ingest.__main__ import components
from imex.ingest.settings import Settings
from imex.local.certificates import Certificates
from imex.observability.metrics import Metrics

DIRECTORY = "institutions: [{code: RQM, name: Hospital A, kind: nhs, senders: [{ae_title: RQM_PACS}]}]"


async def run(groups: dict[str, Any], folder: Path) -> None:
    certificates = Certificates(folder)
    shown = certificates.server()
    settings = Settings.model_validate(
        {
            "dicom": {
                "host": "127.0.0.1",
                "port": 0,
                "tls_port": 0,
                "tls_certificate": shown.certificate,
                "tls_key": shown.key,
                "tls_ca": certificates.ca,
                "max_associations": 500,
                "handshakes_per_address": 500,
            },
            "sealing": {"keys": {"k1": base64.b64encode(bytes(32)).decode()}, "current": "k1"},
            "http": {"port": 0},
            "storage": {"measure": "off"},
            **groups,
        }
    )
    index = DirectoryIndex(parse(DIRECTORY))
    parts, server = components(settings, Metrics("ingest"), lambda: index)
    for part in parts:
        await part.start()
    limits = next(part for part in parts if part.name == "limits")
    if groups.get("kafka", {}).get("username"):
        while limits.health().detail:  # noqa: ASYNC110  it says when it is connected, and nothing else does
            await asyncio.sleep(0.05)
    print(server.port, server.tls_port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.argv[1]), Path(sys.argv[2])))
