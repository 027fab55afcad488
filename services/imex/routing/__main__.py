"""Composition root of routing."""

from collections.abc import Sequence
from datetime import timedelta

from imex.db import Database
from imex.events import LANES, Identity, Sealed
from imex.events.sealed import SealedPerson, SealedWanted
from imex.observability.metrics import Metrics
from imex.observability.traces import Traces
from imex.routing.closer import Closer
from imex.routing.corrections.notes import Notes
from imex.routing.escalation import Escalation, Objectives
from imex.routing.intake import Intake
from imex.routing.meters import Meters
from imex.routing.orders import Orders
from imex.routing.outcomes import Outcomes
from imex.routing.priors import PriorsLoop
from imex.routing.results import Results
from imex.routing.retiring import Retiring
from imex.routing.retrievals import Answering
from imex.routing.revocation import Revocation
from imex.routing.settings import Settings
from imex.routing.stuck import mark_stuck
from imex.routing.surroundings import Surroundings
from imex.routing.sweeper import Sweeper
from imex.runtime import Component, Consumer, Handler, Policy, Producer, Relay
from imex.runtime.app import main as run_service
from imex.runtime.background import Background
from imex.runtime.directory_feed import DirectoryFeed
from imex.runtime.precedence import Precedence
from imex.runtime.progress import Progress, Source
from imex.runtime.resources import Resources
from imex.sealing import Sealer
from imex.storage import MinioStore
from imex.storage.port import ObjectStore

NAME = "routing"
EXPRESS = Policy(batch_records=64, linger_s=0.0, pace_cap_s=0.0, concurrency=2)
URGENT = Policy(batch_records=64, linger_s=0.005, concurrency=1)
BULK = Policy(batch_records=128, linger_s=0.01, concurrency=2)
FACTS = Policy(batch_records=64, linger_s=0.005, concurrency=2)
ORDERS = Policy(batch_records=16, linger_s=0.0, concurrency=1)

UPSTREAM = {f"validations.{lane}": Source(f"instances.{lane}", f"imex-validation-{lane}") for lane in LANES}
"""What validation reads, for each topic that it writes."""

ESCALATE_EVERY_S = 1.0
REVOKE_EVERY_S = 0.5
RESULTS_EVERY_S = 1.0
PRIORS_EVERY_S = 1.0
ANSWER_EVERY_S = 1.0
EXPIRE_EVERY_S = 60.0
UPSTREAM_EVERY_S = 0.5
ROOTS_EVERY_S = 1.0


def main() -> None:
    """Route until asked to stop (SIGTERM or SIGINT)."""
    settings = Settings()

    def compose(metrics: Metrics) -> Sequence[Component]:
        documents = MinioStore(settings.s3, settings.s3.directory_bucket)
        notes = MinioStore(settings.s3, settings.s3.bucket)
        return (Resources(documents.close, notes.close), *components(settings, metrics, documents, notes))

    run_service(NAME, settings, compose)


def components(
    settings: Settings, metrics: Metrics, documents: ObjectStore, notes: ObjectStore
) -> Sequence[Component]:
    """The service's parts in the order in which they start.

    `documents` holds the directory's versions; into `notes`, where payloads are, go rejection notes.
    """
    database = Database(settings.database.url, NAME, settings.database.pool_size)
    sealer = Sealer(settings.sealing.key_bytes(), settings.sealing.current)
    traces = Traces(NAME, settings.traces, metrics=metrics)
    producer = Producer(settings.kafka, f"imex-{NAME}")
    feed = DirectoryFeed(settings.kafka, documents, metrics)
    meters = Meters(metrics)
    around = Surroundings(
        directories=feed,
        traces=traces,
        moved=meters.moved,
        default_quiet_s=settings.routing.quiet_s,
        association_grace_s=settings.routing.association_grace_s,
        open_requests=settings.routing.open_requests,
        requests_a_day=settings.routing.requests_a_day,
    )

    def open_identity(sealed: Sealed, object_key: str) -> Identity:
        return sealer.open_as(Identity, sealed, object_key.encode())

    def open_person(sealed: Sealed, context: bytes) -> SealedPerson:
        return sealer.open_as(SealedPerson, sealed, context)

    def open_wanted(sealed: Sealed, context: bytes) -> SealedWanted:
        return sealer.open_as(SealedWanted, sealed, context)

    precedence = Precedence()

    def consumer(suffix: str, topic: str, handler: Handler, policy: Policy, rank: int = 0) -> Consumer:
        return Consumer(
            settings.kafka,
            f"imex-{NAME}-{suffix}",
            [topic],
            handler,
            database,
            policy,
            producer=producer,
            on_dead_letter=mark_stuck,
            instance_id=settings.instance.instance,
            tracer=traces.tracer,
            metrics=metrics,
            place=precedence.place(rank),
        )

    intake = Intake(around, open_identity)
    express = consumer("express", "validations.express", intake, EXPRESS)
    urgent = consumer("urgent", "validations.urgent", intake, URGENT, 1)
    bulk = consumer("bulk", "validations.bulk", intake, BULK, 2)
    upstream = Progress(settings.kafka, f"imex-{NAME}", UPSTREAM)
    closer = Closer(
        database,
        [express, urgent, bulk],
        around,
        meters.collected,
        meters.open_studies,
        judged_through=upstream.through,
    )
    sweeper = Sweeper(database, around, settings.routing.decisions_kept_days)
    revocation = Revocation(database, around)
    priors = PriorsLoop(database, around)
    own = settings.routing
    retiring = Retiring(database, around, timedelta(days=own.retain_days))
    kept = timedelta(days=own.retain_days)
    outstanding = timedelta(days=own.outstanding_days)
    corrections = Notes(database, around, notes, outstanding=outstanding, kept=kept, open_facts=sealer.open)
    objectives = Objectives(own.objective_emergency_s, own.objective_urgent_s, own.objective_routine_s)
    escalation = Escalation(database, around, objectives, meters.escalated)
    return (
        Resources(database.close, traces.shutdown),
        producer,
        Relay(database, NAME, producer, metrics),
        feed,
        express,
        urgent,
        bulk,
        consumer("deliveries", "deliveries", Outcomes(around), FACTS),
        consumer("commands", "commands", Orders(around, open_person, open_wanted), ORDERS),
        Background("closer", closer.turn, settings.routing.close_every_s),
        Background("upstream", upstream.turn, UPSTREAM_EVERY_S),
        Background("escalation", escalation.turn, ESCALATE_EVERY_S),
        Background("revocation", revocation.turn, REVOKE_EVERY_S),
        Background("results", Results(database, around).turn, RESULTS_EVERY_S),
        Background("priors", priors.turn, PRIORS_EVERY_S),
        Background("answering", Answering(database, around, open_wanted).turn, ANSWER_EVERY_S),
        Background("retention", retiring.turn, own.retention_every_s),
        Background("corrections", corrections.turn, own.corrections_every_s),
        Background("outstanding", corrections.tidy, EXPIRE_EVERY_S),
        Background("expiry", sweeper.expire, EXPIRE_EVERY_S),
        Background("roots", sweeper.export_roots, ROOTS_EVERY_S),
    )


if __name__ == "__main__":
    main()
