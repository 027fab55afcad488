"""Delivery alone, to many destinations at once: PostgreSQL, the object store, the worker, and a receiver.

The manifests are there before it begins, so nothing but delivery is at work. Every destination is a node of
its own to delivery; one receiving process takes what goes to all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvloop
from pydantic import SecretStr

from benchmarks.corpus import Corpus, Study, ct
from benchmarks.ends import Arrived, Receiver
from imex.db import Database
from imex.db.migrate import upgrade
from imex.db.schemas import OWNED
from imex.delivery.__main__ import pace_of
from imex.delivery.attempt import Means
from imex.delivery.carrying import Carrying
from imex.delivery.changing.changer import Changers
from imex.delivery.changing.keys import Keys
from imex.delivery.changing.ledger import Ledger
from imex.delivery.confirming import ledger as confirming_ledger
from imex.delivery.confirming.confirm import Confirming
from imex.delivery.endings import Endings
from imex.delivery.handler import apply
from imex.delivery.leases import Leases
from imex.delivery.meters import Meters
from imex.delivery.pace import Rates
from imex.delivery.payloads import ReadAhead, Reader
from imex.delivery.receipt import Signer
from imex.delivery.refusals import Refusals
from imex.delivery.repository import Repository
from imex.delivery.settings import DeliverySettings
from imex.delivery.targets.associations import Associations
from imex.delivery.targets.dicom import DicomTarget
from imex.delivery.wake import Arrivals, Bell
from imex.delivery.worker import Worker
from imex.dicom import file_meta
from imex.dicom.part10 import dataset_digest
from imex.dimse import Limits
from imex.directory import Directory, DirectoryIndex
from imex.events import Event, ids
from imex.events.manifests import (
    ManifestClosed,
    ManifestClosedData,
    ManifestInstance,
    ManifestIssued,
    ManifestIssuedData,
)
from imex.observability.metrics import Metrics
from imex.observability.traces import Traces
from imex.sealing import Sealer
from imex.settings import S3Settings, TracesSettings
from imex.storage import MinioStore
from imex.storage.provision import ensure_buckets
from imex.testing.parts import minio_part, postgres_part

_SEED = bytes(range(32))
_SOURCE = "RQM"
_WITHIN_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `python -m benchmarks fanout` takes."""
    parser.add_argument("--destinations", type=int, default=100)
    parser.add_argument("--studies", type=int, default=2, help="for each destination")
    parser.add_argument("--images", type=int, default=20, help="of a study: CT slices of 512 KB")
    parser.add_argument("--rounds", type=int, default=3)


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """Measure, and tell a line for each round."""
    receiver = Receiver()
    try:
        with postgres_part(scratch) as database, minio_part(scratch) as store:
            settings = S3Settings(
                endpoint=store.endpoint,
                access_key=store.access_key,
                secret_key=SecretStr(store.secret_key),
            )
            ensure_buckets(settings)
            upgrade(database.url, {service: f"{service}-password" for service in OWNED})
            uvloop.run(_rounds(arguments, database.url, settings, receiver, ct(scratch)))
    finally:
        receiver.stop()
    return 0


async def _rounds(
    arguments: argparse.Namespace, url: str, settings: S3Settings, receiver: Receiver, corpus: Corpus
) -> None:
    made = _Made(Database(url, "delivery"), MinioStore(settings), receiver.port, corpus)
    recipients = [f"R{number:03}" for number in range(arguments.destinations)]
    made.know(recipients)
    await made.store_templates()
    head = ("round", "images", "images/s", "first of each within", "CPU ms an image")
    print("| " + " | ".join(head) + " |\n| " + " | ".join("---:" for _ in head) + " |", flush=True)
    for number in range(arguments.rounds):
        studies = [
            (recipient, corpus.study(arguments.images))
            for recipient in recipients
            for _ in range(arguments.studies)
        ]
        await made.queue(studies)
        uids = frozenset(uid for _, study in studies for uid in study.uids)
        receiver.expect(len(uids))
        spent = _cpu()
        worker = made.worker()
        began = time.monotonic()
        await worker.start()
        arrived = await asyncio.to_thread(receiver.wait, uids, _WITHIN_S)
        spent = _cpu() - spent
        await worker.stop()
        row = (
            str(number + 1),
            f"{len(uids):,}",
            f"{len(uids) / (max(arrived.arrivals.values()) - began):.0f}",
            f"{_last_first(studies, arrived) - began:.2f} s",
            f"{spent * 1000 / len(uids):.1f}",
        )
        print("| " + " | ".join(row) + " |", flush=True)
    await made.close()


def _last_first(studies: list[tuple[str, Study]], arrived: Arrived) -> float:
    """When the last of the destinations had its first image."""
    first: dict[str, float] = {}
    for recipient, study in studies:
        earliest = min(arrived.arrivals[uid] for uid in study.uids)
        first[recipient] = min(first.get(recipient, earliest), earliest)
    return max(first.values())


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class _Made:
    """Delivery's parts over real ones, as its composition root puts them together."""

    def __init__(self, database: Database, store: MinioStore, port: int, corpus: Corpus) -> None:
        self._database = database
        self._store = store
        self._port = port
        self._corpus = corpus
        self._bell = Bell()
        self._arrivals = Arrivals(self._bell)
        self._directory: DirectoryIndex | None = None
        self._templates: list[ManifestInstance] = []

    def know(self, recipients: list[str]) -> None:
        """Make them destinations."""
        institutions = [
            {
                "code": code,
                "name": code,
                "kind": "nhs",
                "endpoints": [
                    {
                        "name": "pacs",
                        "type": "dicom",
                        "ae_title": code,
                        "host": "127.0.0.1",
                        "port": self._port,
                    }
                ],
            }
            for code in recipients
        ]
        self._directory = DirectoryIndex(Directory.model_validate({"institutions": institutions}))

    async def store_templates(self) -> None:
        """The payloads; that many instances share one changes nothing of what is read and sent."""
        for template in self._corpus.templates:
            key = f"{_SOURCE}/2026-04-01/{uuid4()}"
            data = template.before + template.pixels
            meta = file_meta(template.sop_class, template.has.instance, template.transfer_syntax, _SOURCE)
            await self._store.put(key, meta + data)
            self._templates.append(
                ManifestInstance(
                    sop_instance_uid=template.has.instance,
                    sop_class_uid=template.sop_class,
                    transfer_syntax=template.transfer_syntax,
                    object_key=key,
                    size=len(data),
                    digest=dataset_digest(meta + data),
                )
            )

    async def queue(self, studies: list[tuple[str, Study]]) -> None:
        """Hand in their manifests, as routing would."""
        for recipient, study in studies:
            share = ids.share_id(_SOURCE, study.study, recipient, "direct-care", 1)
            about: dict[str, Any] = {
                "source": _SOURCE,
                "study_uid": study.study,
                "delivery": ids.delivery_id(share, "pacs"),
                "share": share,
                "recipient": recipient,
                "endpoint": "pacs",
                "lane": "bulk",
            }
            listed = tuple(
                self._templates[template].model_copy(update={"sop_instance_uid": uid})
                for template, uid in study.instances
            )
            issued = ManifestIssuedData(
                **about, part=1, priority="routine", directory_version="0" * 64, instances=listed
            )
            closed = ManifestClosedData(**about, revision=1, parts=1, instances=len(listed))
            subject = str(about["delivery"])
            events: list[Event[Any]] = [
                ManifestIssued.of(id=uuid4(), subject=subject, data=issued),
                ManifestClosed.of(id=uuid4(), subject=subject, data=closed),
            ]
            async with self._database.unit() as unit:
                await apply(events, unit, self._arrivals)

    def worker(self) -> Worker:
        """One as its settings make it by default."""
        own = DeliverySettings(signing_key=SecretStr("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="))
        meters = Meters(Metrics("delivery"))
        sealing = {"k1": _SEED}
        ledger = Ledger(self._database)
        reader = ReadAhead(own.read_ahead_instances, own.read_ahead_bytes, own.whole_bytes)
        means = Means(
            Repository(self._database),
            Refusals(self._database, own.refusals_s, own.rejections_s),
            Reader(self._store, reader),
            self._arrivals,
            Rates(),
            meters,
        )
        associations = Associations(own.idle_s, own.idle_associations)
        carrying = Carrying(
            Endings(self._database, Signer(_SEED), own.idle_s),
            means,
            {"dicom": DicomTarget(own.ae_title, Limits(), associations=associations)},
            lambda: self._directory,
            Traces("delivery", TracesSettings()),
            changers=Changers(ledger, Sealer(sealing, "k1"), Keys(ledger, sealing, "k1")),
            confirming=Confirming(confirming_ledger.Ledger(self._database), {}),
        )
        return Worker(
            Leases(self._database, f"bench-{os.getpid()}", timedelta(seconds=own.lease_s)),
            carrying,
            lambda: self._directory,
            bell=self._bell,
            meters=meters,
            pace=pace_of(own),
        )

    async def close(self) -> None:
        """Close what was opened."""
        await self._database.close()
        await self._store.close()
