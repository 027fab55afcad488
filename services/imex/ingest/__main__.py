"""Composition root of ingest."""

from collections.abc import Callable, Sequence

from imex.directory import DirectoryIndex
from imex.events import Identity, Sealed
from imex.events.capacity import CAPACITY_TOPIC
from imex.ingest.adapters import CountingObserver, DicomServer, Eventually, TraceSpans, new_id, utc_now
from imex.ingest.background import BackgroundPublisher
from imex.ingest.budget import Budget, Receiving
from imex.ingest.certificates import Certificates, Files, SenderCertificates
from imex.ingest.company import Company
from imex.ingest.handler import IngestPolicy
from imex.ingest.lanes import LaneMemory
from imex.ingest.limits.bounds import Bounds, BoundsTable, bytes_per_s
from imex.ingest.limits.limiter import Limiter
from imex.ingest.meters import CertificateMeters, LimitMeters, Meters, StoreMeters
from imex.ingest.ports import Surroundings, Tuning
from imex.ingest.settings import DicomSettings, LimitSettings, Settings
from imex.ingest.stow.server import StowServer
from imex.ingest.traffic import Traffic
from imex.ingest.watermark import StoreFill
from imex.observability.metrics import Metrics
from imex.observability.traces import Traces
from imex.runtime.app import main as run_service
from imex.runtime.directory_feed import DirectoryFeed
from imex.runtime.health import Component
from imex.runtime.log_follower import LogFollower
from imex.runtime.producer import Producer
from imex.runtime.resources import Resources
from imex.sealing import Sealer
from imex.storage import (
    CapacitySource,
    DiskCapacity,
    ListedCapacity,
    MinioCapacity,
    MinioStore,
    ObjectStore,
    Unmeasured,
)

NAME = "ingest"
RECEIVING = 4
"""This part of the memory is for connections to receive into."""
RECEIVE_WINDOW = 1024 * 1024
EVENTS_WAIT_S = 0.004
"""About what storing an image takes: less is saved by half as much, more is felt by the sender."""
LOOK_BACK_S = 60.0
"""Several times what a process may be silent before it is forgotten, and some difference of clocks."""


def main() -> None:
    """Take instances until asked to stop (SIGTERM or SIGINT)."""
    settings = Settings()

    def compose(metrics: Metrics) -> Sequence[Component]:
        documents = MinioStore(settings.s3, settings.s3.directory_bucket)
        feed = DirectoryFeed(settings.kafka, documents, metrics)
        serving, _ = components(settings, metrics, feed.current)
        return (Resources(documents.close), feed, *serving)

    run_service(NAME, settings, compose)


def components(
    settings: Settings, metrics: Metrics, directory: Callable[[], DirectoryIndex | None]
) -> tuple[Sequence[Component], DicomServer]:
    """Everything but the directory's feed, in the order in which it starts; the last one is the server."""
    traces = Traces(NAME, settings.traces, metrics=metrics)
    sealer = Sealer(settings.sealing.key_bytes(), settings.sealing.current)
    store = MinioStore(settings.s3)
    producer = Producer(settings.kafka, f"imex-{NAME}")
    meters = Meters(metrics)
    background = BackgroundPublisher(producer.send, meters)
    tuning = Tuning()
    own = settings.ingest
    budget = Budget(own.memory_bytes, 2 * tuning.single_put_bytes, own.emergency_memory)
    meters.watch(lambda: budget.used, lambda: background.waiting)
    bounds = bounds_of(settings.limits, directory)
    traffic = Traffic(budget, bounds, tuning.budget_wait_s)
    limit_meters, certificate_meters = LimitMeters(metrics), CertificateMeters(metrics)
    doors = Limiter(
        new_id(),
        bounds,
        producer.send,
        new_id,
        limit_meters,
        wants=traffic.wants,
        turned=lambda: traffic.share_out(doors.entitled),
        expected=settings.limits.processes,
    )
    fill = StoreFill(
        capacity_of(settings, store),
        settings.storage.watermark,
        settings.storage.poll_s,
        StoreMeters(metrics),
    )
    log = LogFollower(settings.kafka, CAPACITY_TOPIC, doors.take, back_s=LOOK_BACK_S)

    def seal(identity: Identity, object_key: str) -> Sealed:
        return sealer.seal(identity, object_key.encode())

    around = Surroundings(
        company=Company(EVENTS_WAIT_S),
        own_ae_title=settings.dicom.ae_title,
        directory=directory,
        store=store,
        publish=producer.send,
        background=background,
        seal=seal,
        spans=TraceSpans(traces),
        meters=meters,
        lanes=LaneMemory(),
        traffic=traffic,
        doors=doors,
        fill=fill,
        limit_meters=limit_meters,
        now=utc_now,
        new_id=new_id,
        tuning=tuning,
        certificate_shown=SenderCertificates(certificate_meters, utc_now).shown,
    )
    certificates = certificates_of(
        settings.dicom, certificate_meters, wanted=settings.hl7.tls_port is not None
    )
    server = DicomServer(
        settings.dicom,
        IngestPolicy(around),
        CountingObserver(meters),
        settings.ingest.drain_s,
        tls=certificates.context if certificates and settings.dicom.tls_port is not None else None,
        memory=Receiving(budget, settings.ingest.memory_bytes // RECEIVING, RECEIVE_WINDOW),
    )
    resources = Resources(store.close, traces.shutdown)
    watched = (certificates,) if certificates else ()
    more = (*stow_of(settings, around), *hl7_of(settings, around, certificates))
    return (resources, Eventually(producer), background, fill, log, doors, *watched, *more, server), server


def stow_of(settings: Settings, around: Surroundings) -> Sequence[Component]:
    """The listener for store transactions; none where there is no port for it."""
    if settings.stow.port is None:
        return ()
    return (StowServer(settings.stow, around, settings.ingest.drain_s, shared=settings.dicom.shared_port),)


def hl7_of(
    settings: Settings, around: Surroundings, certificates: Certificates | None
) -> Sequence[Component]:
    """The listener for reports by HL7; none where there is no port for it."""
    if settings.hl7.port is None and settings.hl7.tls_port is None:
        return ()
    # loads pydicom, for those who take reports only
    from imex.ingest.hl7.server import Hl7Server

    tls = certificates.context if certificates else None
    shared = settings.dicom.shared_port
    return (Hl7Server(settings.hl7, around, settings.ingest.drain_s, shared=shared, tls=tls),)


def bounds_of(settings: LimitSettings, directory: Callable[[], DirectoryIndex | None]) -> BoundsTable:
    """The limits in force: settings, and for an institution the directory."""
    everybody = Bounds(settings.associations, settings.in_flight_bytes, bytes_per_s(settings.mbps))
    institution = Bounds(
        settings.institution_associations,
        settings.institution_in_flight_bytes,
        bytes_per_s(settings.institution_mbps),
    )
    return BoundsTable(everybody, institution, directory)


def capacity_of(settings: Settings, store: ObjectStore) -> CapacitySource:
    """Where to learn how full the store is."""
    match settings.storage.measure:
        case "minio":
            return MinioCapacity(settings.s3)
        case "disk":
            return DiskCapacity(settings.storage.path)
        case "listing":
            return ListedCapacity(store, settings.storage.capacity_bytes)
        case "off":
            return Unmeasured()


def certificates_of(
    settings: DicomSettings, meters: CertificateMeters, *, wanted: bool = False
) -> Certificates | None:
    """The TLS ports' certificates; None where there is no such port. Raises TlsFilesInvalid.

    `wanted`: another port than DICOM's has use for them.
    """
    certificate, key, ca = settings.tls_certificate, settings.tls_key, settings.tls_ca
    if not (wanted or settings.tls_port is not None) or certificate is None or key is None or ca is None:
        return None
    files = Files(certificate, key, ca)
    return Certificates(files, meters, settings.tls_check_s, utc_now)


if __name__ == "__main__":
    main()
