"""Ingest on a real store and broker for foreign senders, and a way to see exactly what arrived."""

import base64
import hashlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pydicom

from imex.dicom import dataset_offset, file_meta
from imex.directory import DirectoryIndex, parse
from imex.events.catalog import TOPICS
from imex.ingest.__main__ import components as ingest_components
from imex.ingest.settings import Settings
from imex.local.certificates import Certificates
from imex.observability.metrics import Metrics
from imex.runtime.topics import ensure_topics
from imex.settings import KafkaSettings, S3Settings
from imex.storage import MinioStore
from imex.testing.dimse import Instance
from imex.testing.interop.peer import PeerTls
from imex.testing.parts import MinioPart
from imex.testing.runtime import until

CALLING_AE = "RQM_PACS"
CALLED_AE = "IMEX"
_PADDING = 0xFFFCFFFC
_DIRECTORY = f"""
institutions:
  - {{code: RQM, name: Hospital A, kind: nhs, senders: [{{ae_title: {CALLING_AE}}}]}}
"""


class Arrival(NamedTuple):
    """What an object holds: what the sender said of the data set, and the SHA-256 of its bytes."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    sha256: str


def arrival_of(instance: Instance) -> Arrival:
    """What an instance has to arrive as: unchanged, but for the pad byte of an odd length (PS3.5 7.1.1)."""
    data = instance.data + b"\0" * (len(instance.data) % 2)
    digest = hashlib.sha256(data).hexdigest()
    return Arrival(instance.sop_class, instance.sop_instance, instance.transfer_syntax, digest)


def arrivals_of(instances: Iterable[Instance]) -> Counter[Arrival]:
    """The same of several."""
    return Counter(arrival_of(instance) for instance in instances)


def elements(instance: Instance) -> pydicom.Dataset:
    """The elements of an instance, without group lengths and trailing padding, which senders write anew."""
    meta = file_meta(instance.sop_class, instance.sop_instance, instance.transfer_syntax)
    dataset = pydicom.dcmread(io.BytesIO(meta + instance.data))
    for tag in [element.tag for element in dataset if element.tag.element == 0 or element.tag == _PADDING]:
        del dataset[tag]
    return pydicom.Dataset(dataset)


@dataclass
class Exchange:
    """A running ingest that takes associations from `CALLING_AE`, on `tls_port` with its certificate."""

    port: int
    tls_port: int
    store: MinioStore
    tls: PeerTls

    async def instances(self) -> list[Instance]:
        """Everything that has arrived, read back from the object store."""
        found = []
        async for listed in self.store.list():
            content = await self.store.get(listed.key)
            offset = dataset_offset(content)
            meta = pydicom.dcmread(io.BytesIO(content[:offset])).file_meta
            found.append(
                Instance(
                    str(meta.MediaStorageSOPClassUID),
                    str(meta.MediaStorageSOPInstanceUID),
                    str(meta.TransferSyntaxUID),
                    content[offset:],
                )
            )
        return found

    async def arrived(self) -> Counter[Arrival]:
        """Everything that has arrived, counted."""
        return arrivals_of(await self.instances())


@asynccontextmanager
async def exchange(minio: MinioPart, kafka: KafkaSettings, folder: Path) -> AsyncIterator[Exchange]:
    """Ingest as its composition root makes it, with an empty bucket and, in `folder`, a CA of its own."""
    await ensure_topics(kafka, TOPICS)
    authority = Certificates(folder / "certificates")
    own, client = authority.server(), authority.client("RQM")
    s3 = S3Settings.model_validate(
        {
            "endpoint": minio.endpoint,
            "access_key": minio.access_key,
            "secret_key": minio.secret_key,
            "bucket": f"b{uuid4().hex}",
        }
    )
    settings = Settings.model_validate(
        {
            "dicom": {
                "host": "127.0.0.1",
                "port": 0,
                "tls_port": 0,
                "tls_certificate": own.certificate,
                "tls_key": own.key,
                "tls_ca": authority.ca,
                "ae_title": CALLED_AE,
            },
            "ingest": {"drain_s": 5.0},
            "kafka": kafka,
            "s3": s3,
            "sealing": {"keys": {"k1": base64.b64encode(bytes(32)).decode()}, "current": "k1"},
            "http": {"port": 0},
        }
    )
    store = MinioStore(s3)
    await store.ensure_bucket()
    index = DirectoryIndex(parse(_DIRECTORY))
    components, server = ingest_components(settings, Metrics("ingest"), lambda: index)
    for component in components:
        await component.start()
    try:
        await until(lambda: all(not each.health().detail for each in components))
        tls = PeerTls(authority.ca, client.certificate, client.key)
        yield Exchange(server.port, server.tls_port, store, tls)
    finally:
        for component in reversed(components):
            await component.stop()
        await store.close()
