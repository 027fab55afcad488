"""Composition root of ingest."""

from collections.abc import Callable, Sequence

from imex.directory import DirectoryIndex
from imex.events import Identity, Sealed
from imex.ingest.adapters import CountingObserver, DicomServer, Eventually, TraceSpans, new_id, utc_now
from imex.ingest.background import BackgroundPublisher
from imex.ingest.budget import Budget
from imex.ingest.certificates import Certificates, Files
from imex.ingest.handler import IngestPolicy
from imex.ingest.lanes import LaneMemory
from imex.ingest.meters import CertificateMeters, Meters
from imex.ingest.ports import Surroundings
from imex.ingest.settings import DicomSettings, Settings
from imex.observability.metrics import Metrics
from imex.observability.traces import Traces
from imex.runtime.app import main as run_service
from imex.runtime.directory_feed import DirectoryFeed
from imex.runtime.health import Component
from imex.runtime.producer import Producer
from imex.runtime.resources import Resources
from imex.sealing import Sealer
from imex.storage import MinioStore

NAME = "ingest"


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
    producer = Producer(settings.kafka, f"imex-{NAME}", linger_ms=1)
    meters = Meters(metrics)
    background = BackgroundPublisher(producer.send, meters)
    budget = Budget(settings.ingest.memory_bytes)
    meters.watch(lambda: budget.used, lambda: background.waiting)

    def seal(identity: Identity, object_key: str) -> Sealed:
        return sealer.seal(identity, object_key.encode())

    around = Surroundings(
        own_ae_title=settings.dicom.ae_title,
        directory=directory,
        store=store,
        publish=producer.send,
        background=background,
        seal=seal,
        spans=TraceSpans(traces),
        meters=meters,
        lanes=LaneMemory(),
        budget=budget,
        now=utc_now,
        new_id=new_id,
    )
    certificates = certificates_of(settings.dicom, metrics)
    server = DicomServer(
        settings.dicom,
        IngestPolicy(around),
        CountingObserver(meters),
        settings.ingest.drain_s,
        certificates.context if certificates else None,
    )
    resources = Resources(store.close, traces.shutdown)
    watched = (certificates,) if certificates else ()
    return (resources, Eventually(producer), background, *watched, server), server


def certificates_of(settings: DicomSettings, metrics: Metrics) -> Certificates | None:
    """The TLS port's certificates; None where there is no such port. Raises TlsFilesInvalid."""
    certificate, key, ca = settings.tls_certificate, settings.tls_key, settings.tls_ca
    if settings.tls_port is None or certificate is None or key is None or ca is None:
        return None
    files = Files(certificate, key, ca)
    return Certificates(files, CertificateMeters(metrics), settings.tls_check_s, utc_now)


if __name__ == "__main__":
    main()
