"""Composition root of audit."""

from collections.abc import Sequence

from imex.audit.handler import AuditHandler, write_checkpoint
from imex.audit.settings import Settings
from imex.audit.subjects import SubjectsHandler
from imex.db import Database
from imex.observability.metrics import Metrics
from imex.observability.names import AUDIT_RECORDS
from imex.observability.traces import Traces
from imex.runtime import Component, Consumer, Policy, Producer, Relay
from imex.runtime.app import main as run_service
from imex.runtime.background import Background
from imex.runtime.resources import Resources

NAME = "audit"
POLICY = Policy(batch_records=256, linger_s=0.02, order="partition")
COMMANDS = Policy(batch_records=32, linger_s=0.0, concurrency=1)


def main() -> None:
    """Keep the trail until asked to stop (SIGTERM or SIGINT)."""
    settings = Settings()
    run_service(NAME, settings, lambda metrics: components(settings, metrics))


def components(settings: Settings, metrics: Metrics) -> Sequence[Component]:
    """The service's parts in the order in which they start."""
    database = Database(settings.database.url, NAME, settings.database.pool_size)
    traces = Traces(NAME, settings.traces, metrics=metrics)
    producer = Producer(settings.kafka, f"imex-{NAME}")
    appended = metrics.counter(AUDIT_RECORDS)

    def counted(action: str) -> None:
        appended.labels(action).inc()

    async def checkpoint() -> bool:
        async with database.unit() as unit:
            await write_checkpoint(unit)
        return False

    group = f"imex-{NAME}"
    return (
        Resources(database.close, traces.shutdown),
        producer,
        Relay(database, NAME, producer, metrics),
        Consumer(
            settings.kafka,
            group,
            ["audit"],
            AuditHandler(traces, counted),
            database,
            POLICY,
            producer=producer,
            instance_id=settings.instance.instance,
            tracer=traces.tracer,
            metrics=metrics,
        ),
        Consumer(
            settings.kafka,
            f"{group}-commands",
            ["commands"],
            SubjectsHandler(),
            database,
            COMMANDS,
            producer=producer,
            instance_id=settings.instance.instance,
            tracer=traces.tracer,
            metrics=metrics,
        ),
        Background("checkpoints", checkpoint, settings.trail.checkpoint_s),
    )


if __name__ == "__main__":
    main()
