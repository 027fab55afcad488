"""Composition root of the portal."""

import asyncio
import logging

import uvicorn

from imex.db import Database
from imex.observability.logs import configure_logging
from imex.observability.metrics import Metrics
from imex.portal.app import create_app
from imex.portal.commitment.assembly import SenderCommitments
from imex.portal.context import Broker, Portal
from imex.portal.dicomweb.ingest import Ingest
from imex.portal.parts import Part
from imex.portal.query_retrieve.listener import DicomListener, client_tls
from imex.portal.settings import Settings
from imex.runtime.producer import Producer
from imex.runtime.reader import TopicReader
from imex.runtime.relay import Relay
from imex.sealing import Sealer
from imex.storage import MinioStore

GRACE_S = 10
"""How long requests under way may take when the portal is asked to stop."""


def main() -> None:
    """Serve until asked to stop (SIGTERM or SIGINT)."""
    import uvloop

    settings = Settings()
    configure_logging("portal", settings.log.level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Compose the portal and serve it."""
    database = Database(settings.database.url, "portal", settings.database.pool_size)
    documents = MinioStore(settings.s3, settings.s3.directory_bucket)
    payloads = MinioStore(settings.s3)
    metrics = Metrics("portal")
    producer = Producer(settings.kafka, "portal")
    relay = Relay(database, "portal", producer, metrics)
    portal = Portal(
        settings=settings.portal,
        database=database,
        documents=documents,
        metrics=metrics,
        payloads=payloads,
        broker=Broker(TopicReader(settings.kafka, "portal-reader"), producer),
        sealer=Sealer(settings.sealing.key_bytes(), settings.sealing.current),
    )
    parts: list[Part] = [producer, relay]
    if settings.stow.url:
        portal.ingest = ingest = Ingest(settings.stow)
        parts.insert(0, ingest)  # needs no broker, and is not to wait for one
    if settings.dicom.listens:
        tls = client_tls(settings.dicom)
        promised = SenderCommitments(
            settings.commitment, settings.kafka, database, metrics, tls, outbound=settings.outbound.outbound()
        )
        parts = [
            DicomListener(portal, settings.dicom, [promised.offer], outbound=settings.outbound.outbound()),
            *parts,
            *promised.parts,
        ]
    app = create_app(portal, parts)
    config = uvicorn.Config(
        app,
        host=settings.http.host,
        port=settings.http.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="on",
    )
    try:
        await uvicorn.Server(config).serve()
    finally:
        await payloads.close()
        await documents.close()
        await database.close()
        logging.getLogger(__name__).info("stopped")


if __name__ == "__main__":
    main()
