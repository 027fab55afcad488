"""Ingest in a process of its own with a directory that is given; prints its DICOM ports, plain and TLS.

Arguments: the object store's endpoint, the memory in bytes, a folder for certificates.
"""

import asyncio
import base64
import sys
from pathlib import Path

import uvloop

from imex.directory import DirectoryIndex, parse
from imex.ingest.__main__ import components
from imex.ingest.settings import Settings
from imex.local.certificates import Certificates
from imex.observability.metrics import Metrics

DIRECTORY = "institutions: [{code: RQM, name: Hospital A, kind: nhs, senders: [{ae_title: RQM_PACS}]}]"


async def run(endpoint: str, memory: int, folder: Path) -> None:
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
            "ingest": {"memory_bytes": memory},
            "limits": {"associations": 500, "institution_associations": 500},
            "kafka": {"bootstrap": "127.0.0.1:9"},
            "s3": {"endpoint": endpoint},
            "sealing": {"keys": {"k1": base64.b64encode(bytes(32)).decode()}, "current": "k1"},
            "http": {"port": 0},
            "storage": {"measure": "off"},
        }
    )
    index = DirectoryIndex(parse(DIRECTORY))
    parts, server = components(settings, Metrics("ingest"), lambda: index)
    for part in parts:
        await part.start()
    print(server.port, server.tls_port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
