"""Composition root of validation."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from imex.db import Database
from imex.events import Identity, Sealed
from imex.events.sealed import SealedPerson
from imex.observability.metrics import Metrics
from imex.observability.names import (
    VALIDATION_DELETED,
    VALIDATION_INSTANCES,
    VALIDATION_ORPHANS,
    VALIDATION_WAITING,
)
from imex.observability.traces import Traces
from imex.runtime import Component, Consumer, Handler, Policy, Producer, Relay
from imex.runtime.app import main as run_service
from imex.runtime.background import Background
from imex.runtime.directory_feed import DirectoryFeed
from imex.runtime.precedence import Precedence
from imex.runtime.resources import Resources
from imex.sealing import Sealer
from imex.storage import MinioStore, ObjectStore
from imex.validation.decisions import CommandsHandler
from imex.validation.disposal import Disposer, RetentionHandler
from imex.validation.handler import InstancesHandler
from imex.validation.identities import Number
from imex.validation.orphans import Orphans
from imex.validation.pixels import Pixels
from imex.validation.rejections import Rejections
from imex.validation.repository import Repository
from imex.validation.rules import DirectoryRules
from imex.validation.settings import Settings
from imex.validation.undecided import Undecided
from imex.validation.unjudged import mark_unjudged

NAME = "validation"
EXPRESS = Policy(batch_records=32, linger_s=0.0, concurrency=2, pace_least_s=0.02, pace_s_per_record=0.002)
URGENT = Policy(batch_records=64, linger_s=0.005, concurrency=2)
BULK = Policy(batch_records=128, linger_s=0.01, concurrency=3)
COMMANDS = Policy(batch_records=32, linger_s=0.0, concurrency=1)
COUNT_EVERY_S = 15.0
UNDECIDED_EVERY_S = 600.0


def main() -> None:
    """Judge until asked to stop (SIGTERM or SIGINT)."""
    settings = Settings()

    def compose(metrics: Metrics) -> Sequence[Component]:
        documents = MinioStore(settings.s3, settings.s3.directory_bucket)
        payloads = MinioStore(settings.s3, settings.s3.bucket)
        return (
            Resources(documents.close, payloads.close),
            *components(settings, metrics, documents, payloads),
        )

    run_service(NAME, settings, compose)


def components(
    settings: Settings, metrics: Metrics, documents: ObjectStore, payloads: ObjectStore
) -> Sequence[Component]:
    """The service's parts in the order in which they start.

    `documents` holds the directory's versions, `payloads` what ingest has stored.
    """
    database = Database(settings.database.url, NAME, settings.database.pool_size)
    sealer = Sealer(settings.sealing.key_bytes(), settings.sealing.current)
    traces = Traces(NAME, settings.traces, metrics=metrics)
    producer = Producer(settings.kafka, f"imex-{NAME}")
    counter = metrics.counter(VALIDATION_INSTANCES)

    deleted, found = metrics.counter(VALIDATION_DELETED), metrics.counter(VALIDATION_ORPHANS)
    waiting = metrics.gauge(VALIDATION_WAITING)

    async def count_waiting() -> bool:
        async with database.unit() as unit:
            waiting.set(await Repository(unit.connection).waiting_count())
        return False

    def open_identity(sealed: Sealed, object_key: str) -> Identity:
        return sealer.open_as(Identity, sealed, object_key.encode())

    def open_person(sealed: Sealed, context: bytes) -> SealedPerson:
        return sealer.open_as(SealedPerson, sealed, context)

    def open_number(sealed: Sealed, context: bytes) -> Number:
        return sealer.open_as(Number, sealed, context)

    def counted(outcome: str, checks: str) -> None:
        counter.labels(outcome, checks).inc()

    feed = DirectoryFeed(settings.kafka, documents, metrics)
    rules = DirectoryRules(feed, settings.validation.test_numbers)
    pixels, rejections = Pixels(payloads), Rejections(payloads)
    instances = InstancesHandler(
        open_identity, traces, counted, rules, pixels.same, tell_rejections=rejections.told
    )

    own = settings.validation
    disposer = Disposer(database, payloads, deleted.inc)
    orphans = Orphans(
        database,
        payloads,
        lambda: index.institutions if (index := feed.current()) else (),
        lambda: datetime.now(UTC),
        after=timedelta(days=own.orphan_days),
        found=found.inc,
    )

    undecided = Undecided(database, lambda: datetime.now(UTC), days=own.quarantine_days)
    precedence = Precedence()

    def consumer(suffix: str, topic: str, handler: Handler, policy: Policy, rank: int = 0) -> Consumer:
        group = f"imex-{NAME}-{suffix}"
        return Consumer(
            settings.kafka,
            group,
            [topic],
            handler,
            database,
            policy,
            producer=producer,
            on_dead_letter=mark_unjudged,
            instance_id=settings.instance.instance,
            tracer=traces.tracer,
            metrics=metrics,
            place=precedence.place(rank),
        )

    return (
        Resources(database.close, traces.shutdown),
        producer,
        Relay(database, NAME, producer, metrics),
        feed,
        consumer("express", "instances.express", instances, EXPRESS),
        consumer("urgent", "instances.urgent", instances, URGENT, 1),
        consumer("bulk", "instances.bulk", instances, BULK, 2),
        consumer(
            "commands", "commands", CommandsHandler(open_person, open_number, rejections.told), COMMANDS
        ),
        consumer("retention", "retention", RetentionHandler(), COMMANDS),
        Background("deletion", disposer.turn, own.delete_every_s),
        Background("orphans", orphans.turn, own.orphans_every_s),
        Background("quarantine's end", undecided.turn, UNDECIDED_EVERY_S),
        Background("quarantine gauge", count_waiting, COUNT_EVERY_S),
    )


if __name__ == "__main__":
    main()
