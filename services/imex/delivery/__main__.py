"""Composition root of delivery."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from imex.db import Database
from imex.delivery.attempt import Means
from imex.delivery.carrying import Carrying, CurrentDirectory
from imex.delivery.changing.changer import Bounds as ChangeBounds
from imex.delivery.changing.changer import Changers
from imex.delivery.changing.keys import Keys
from imex.delivery.changing.ledger import Ledger
from imex.delivery.clearing import Clearing
from imex.delivery.confirming import ledger as confirming_ledger
from imex.delivery.confirming.commitment import Commitments, Patience
from imex.delivery.confirming.confirm import Confirming
from imex.delivery.confirming.dimse import Nodes
from imex.delivery.confirming.listener import CommitmentListener
from imex.delivery.conversion import Converter
from imex.delivery.decide import PoolLimits
from imex.delivery.endings import Endings
from imex.delivery.endpoint_tests.network import TlsFiles
from imex.delivery.endpoint_tests.planning import Means as TestMeans
from imex.delivery.endpoint_tests.rows import Rows as TestRows
from imex.delivery.endpoint_tests.tester import EndpointTester
from imex.delivery.handler import handler
from imex.delivery.inbox_orphans import InboxOrphans
from imex.delivery.leases import Leases
from imex.delivery.losses import mark_lost
from imex.delivery.meters import Meters
from imex.delivery.pace import Rates
from imex.delivery.payloads import ReadAhead, Reader
from imex.delivery.receipt import Signer
from imex.delivery.refusals import Refusals
from imex.delivery.repository import Repository
from imex.delivery.retrieving.dicomweb import DicomwebArchive
from imex.delivery.retrieving.dimse import Bounds, DicomArchive
from imex.delivery.retrieving.retriever import Retriever
from imex.delivery.retrieving.rows import Rows
from imex.delivery.settings import DeliverySettings, Settings
from imex.delivery.targets.associations import Associations
from imex.delivery.targets.certificates import Certificates
from imex.delivery.targets.dicom import DicomTarget
from imex.delivery.targets.dicomweb.qido import DicomwebAsker
from imex.delivery.targets.dicomweb.secrets import held_secrets
from imex.delivery.targets.dicomweb.target import DicomwebTarget
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Web, WebLimits
from imex.delivery.targets.hl7 import Hl7Target
from imex.delivery.targets.inbox import InboxTarget
from imex.delivery.transcoding.transcoder import Limits as Transcoding
from imex.delivery.transcoding.transcoder import Transcoder
from imex.delivery.wake import Arrivals, Bell
from imex.delivery.worker import Pace, Worker
from imex.dicomweb.door import Door
from imex.dimse import Limits
from imex.dimse.tls import WatchedContext, server_context
from imex.events import Sealed
from imex.events.sealed import SealedWanted
from imex.observability.metrics import Metrics
from imex.observability.names import DELIVERY_RETRIEVALS
from imex.observability.traces import Traces
from imex.runtime import Component, Consumer, Policy, Producer, Relay
from imex.runtime.app import main as run_service
from imex.runtime.background import Background
from imex.runtime.directory_feed import DirectoryFeed
from imex.runtime.precedence import Precedence
from imex.runtime.resources import Resources
from imex.sealing import Sealer
from imex.settings import decoded_key
from imex.storage import MinioStore

NAME = "delivery"
POLICIES = {
    "manifests.express": Policy(batch_records=32, linger_s=0.0, pace_cap_s=0.0, concurrency=2),
    "manifests.urgent": Policy(batch_records=64, linger_s=0.005, concurrency=1),
    "manifests.bulk": Policy(batch_records=64, linger_s=0.005, concurrency=2),
    "commands": Policy(batch_records=32, linger_s=0.0, concurrency=1),
    "retrievals": Policy(batch_records=16, linger_s=0.0, concurrency=1),
}
CLEAR_EVERY_S = 30.0
ORPHANS_EVERY_S = 600.0
RANKS = {"manifests.urgent": 1, "manifests.bulk": 2}


def main() -> None:
    """Deliver until asked to stop (SIGTERM or SIGINT)."""
    settings = Settings()
    run_service(NAME, settings, lambda metrics: components(settings, metrics))


def components(settings: Settings, metrics: Metrics) -> Sequence[Component]:
    """The service's parts in the order in which they start."""
    database = Database(settings.database.url, NAME, settings.database.pool_size)
    store = MinioStore(settings.s3)
    documents = MinioStore(settings.s3, settings.s3.directory_bucket)
    directory = DirectoryFeed(settings.kafka, documents, metrics)
    traces = Traces(NAME, settings.traces, metrics=metrics)
    producer = Producer(settings.kafka, f"imex-{NAME}")
    own = settings.delivery
    transcoding = Transcoding(
        own.transcodes_at_a_time, own.transcode_memory, own.transcode_pixels, own.transcode_s
    )
    converter = Converter(transcoder=Transcoder(transcoding))
    bell = Bell()
    arrivals = Arrivals(bell)
    sealer = Sealer(settings.sealing.key_bytes(), settings.sealing.current)
    precedence = Precedence()
    consumers = [
        Consumer(
            settings.kafka,
            f"imex-{NAME}-{topic.replace('.', '-')}",
            [topic],
            handler(arrivals, sealer),
            database,
            policy,
            producer=producer,
            on_dead_letter=mark_lost,
            instance_id=settings.instance.instance,
            tracer=traces.tracer,
            metrics=metrics,
            place=precedence.place(RANKS.get(topic, 0)),
        )
        for topic, policy in POLICIES.items()
    ]
    own = settings.delivery
    certificates = Certificates(own.tls_ca, own.tls_certificate, own.tls_key, check_host=own.tls_check_host)
    # names are checked: a server that is called by a URL has one
    web_tls = Certificates(own.tls_ca, own.tls_certificate, own.tls_key)
    outbound = settings.outbound.outbound()
    web = Web(
        web_tls.context if own.tls_ca is not None else None, WebLimits(response_s=own.request_s), outbound
    )
    nodes = Nodes(
        own.ae_title, tls=certificates.context if own.tls_ca is not None else None, outbound=outbound
    )
    archive = DicomArchive(
        own.ae_title,
        own.move_destination or own.ae_title,
        Bounds(move_s=own.retrieval_silent_s, threads=2 * own.retrievals_at_a_time),
        tls=certificates.context if own.tls_ca is not None else None,
        outbound=outbound,
    )

    stow = settings.stow
    door = Door(stow.url, stow.secret.get_secret_value()) if stow.url else None
    secrets = held_secrets(own.secrets, own.secrets_dir)
    looks = metrics.counter(DELIVERY_RETRIEVALS)

    def open_wanted(sealed: Sealed, context: bytes) -> SealedWanted:
        return sealer.open_as(SealedWanted, sealed, context)

    commitments = Commitments(
        database,
        nodes,
        Patience(own.commitment_same_s, own.commitment_s),
        heard=bell.ring,
        listens=own.hears_commitments,
    )
    listening = [commitment_listener(commitments, own)] if own.hears_commitments else []
    return (
        Resources(
            database.close,
            store.close,
            documents.close,
            traces.shutdown,
            nodes.close,
            archive.close,
            *([door.close] if door is not None else []),
            web.close,
            converter.close,
        ),
        directory,
        producer,
        Relay(database, NAME, producer, metrics),
        _tester(settings, database, directory.current),
        Retriever(
            Rows(database, settings.lease_holder, own.lease_s),
            directory.current,
            {"dicom": archive, "dicomweb": DicomwebArchive(web, Tokens(web, secrets), door)},
            open_wanted,
            own.retrievals_at_a_time,
            own.lease_s,
            counted=lambda holder, outcome: looks.labels(holder, outcome).inc(),
        ),
        _worker(
            settings,
            database,
            store,
            directory.current,
            bell=bell,
            arrivals=arrivals,
            sealer=sealer,
            traces=traces,
            metrics=metrics,
            nodes=nodes,
            web=web,
            commitments=commitments,
            converter=converter,
        ),
        *listening,
        Background("clearing", Clearing(database, store).turn, CLEAR_EVERY_S),
        Background("inbox orphans", InboxOrphans(database, store, _now).turn, ORPHANS_EVERY_S),
        *consumers,
    )


def commitment_listener(commitments: Commitments, own: DeliverySettings) -> CommitmentListener:
    """Where destinations report. Raises TlsFilesInvalid."""
    certificate, key, ca = own.tls_certificate, own.tls_key, own.tls_ca
    tls = None
    if own.commitment_tls_port is not None and certificate and key and ca:
        tls = WatchedContext(lambda: server_context(certificate, key, ca), certificate, key, ca)
    return CommitmentListener(
        commitments, own.commitment_host, own.commitment_port, own.commitment_tls_port, tls
    )


def _worker(
    settings: Settings,
    database: Database,
    store: MinioStore,
    directory: CurrentDirectory,
    *,
    bell: Bell,
    arrivals: Arrivals,
    sealer: Sealer,
    traces: Traces,
    metrics: Metrics,
    nodes: Nodes,
    web: Web,
    commitments: Commitments,
    converter: Converter,
) -> Worker:
    own = settings.delivery
    lease = timedelta(seconds=own.lease_s)
    meters = Meters(metrics)
    signer = Signer(decoded_key("IMEX_DELIVERY_SIGNING_KEY", own.signing_key))
    read_ahead = ReadAhead(own.read_ahead_instances, own.read_ahead_bytes, own.whole_bytes)
    ledger = Ledger(database)
    sealing = settings.sealing
    changers = Changers(
        ledger,
        sealer,
        Keys(ledger, sealing.key_bytes(), sealing.current),
        ChangeBounds(own.header_bytes, own.changed_at_a_time),
    )
    means = Means(
        Repository(database),
        Refusals(database, own.refusals_s, own.rejections_s),
        Reader(store, read_ahead),
        arrivals,
        Rates(),
        meters,
    )
    tls = Certificates(own.tls_ca, own.tls_certificate, own.tls_key, check_host=own.tls_check_host)
    dicom = DicomTarget(
        own.ae_title,
        Limits(),
        associations=Associations(own.idle_s, own.idle_associations),
        tls=tls.context if own.tls_ca is not None else None,
        converter=converter,
        outbound=settings.outbound.outbound(),
    )
    tokens = Tokens(web, held_secrets(own.secrets, own.secrets_dir))
    confirming = Confirming(
        confirming_ledger.Ledger(database),
        {"dicom": nodes, "dicomweb": DicomwebAsker(web, tokens)},
        commitments,
        patience_s=own.confirm_patience_s,
    )
    return Worker(
        Leases(database, settings.lease_holder, lease),
        Carrying(
            Endings(database, signer, own.idle_s),
            means,
            {
                "dicom": dicom,
                "dicomweb": DicomwebTarget(web, tokens, converter=converter, ae_title=own.ae_title),
                "inbox": InboxTarget(store),
                "hl7": Hl7Target(
                    tls=tls.context if own.tls_ca is not None else None, outbound=settings.outbound.outbound()
                ),
            },
            directory,
            traces,
            changers=changers,
            confirming=confirming,
        ),
        directory,
        bell=bell,
        meters=meters,
        pace=pace_of(own),
    )


def pace_of(own: DeliverySettings) -> Pace:
    """How many deliveries at a time, and how often to look, as the settings say."""
    limits = PoolLimits(
        own.concurrency,
        own.emergency_reserve,
        own.per_destination,
        own.urgent_reserve,
        own.routine_reserve,
        own.destination_reserve,
    )
    return Pace(
        limits,
        default_associations=own.default_associations,
        associations_per_delivery=own.associations_per_delivery,
        lease_s=own.lease_s,
        poll_s=own.poll_s,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _tester(settings: Settings, database: Database, directory: CurrentDirectory) -> EndpointTester:
    own = settings.delivery
    tls = TlsFiles(own.tls_ca, own.tls_certificate, own.tls_key, own.tls_check_host)
    outbound = settings.outbound.outbound()
    means = TestMeans(own.ae_title, tls, held_secrets(own.secrets, own.secrets_dir), outbound)
    return EndpointTester(TestRows(database, settings.lease_holder), directory, means)


if __name__ == "__main__":
    main()
