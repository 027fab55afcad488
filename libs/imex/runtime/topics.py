"""The topics of the broker, made from the catalogue."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from imex.events import Topic
from imex.runtime.backoff import persist
from imex.runtime.kafka_client import connection
from imex.settings import KafkaSettings

log = logging.getLogger(__name__)

_WITHIN_S = 60.0
_IDENTIFYING_DEAD_MS = 7 * 24 * 60 * 60 * 1000
_DEAD_MS = 30 * 24 * 60 * 60 * 1000


def topic_definitions(catalog: Sequence[Topic], replication: int = 1) -> list[NewTopic]:
    """Every topic of the catalogue and its dead letters, as they should be on the broker.

    Dead letters of topics with identifying facts are kept 7 days like these, others 30.
    """
    definitions = []
    for topic in catalog:
        policy = "compact" if topic.compacted else "delete"
        settings = {"cleanup.policy": policy, "retention.ms": str(topic.retention_ms)}
        if topic.broker_time:
            # without rolling, what is too old would stay as long as the segment is written to
            settings |= {"message.timestamp.type": "LogAppendTime", "segment.ms": str(topic.retention_ms)}
        dead = {
            "cleanup.policy": "delete",
            "retention.ms": str(_IDENTIFYING_DEAD_MS if topic.identifying else _DEAD_MS),
        }
        if replication > 2:
            settings["min.insync.replicas"] = dead["min.insync.replicas"] = "2"
        definitions += [
            NewTopic(topic.name, topic.partitions, replication, topic_configs=settings),
            NewTopic(topic.dead_letter, 1, replication, topic_configs=dead),
        ]
    return definitions


async def ensure_topics(settings: KafkaSettings, catalog: Sequence[Topic], replication: int = 1) -> None:
    """Create what is missing, add partitions where there are too few, and set retention and cleanup.

    Safe to repeat. A topic with more partitions than the catalogue says keeps them. Waits up to a minute
    for the broker.

    Raises:
        KafkaError: the broker refused, or is not there.
        TimeoutError: not done within a minute.
    """
    definitions = topic_definitions(catalog, replication)
    async with asyncio.timeout(_WITHIN_S):
        admin = await connect_admin(settings)
        try:
            await _create(admin, definitions)
            await _grow(admin, {each.name: each.num_partitions for each in definitions})
            await _configure(admin, definitions)
        finally:
            await admin.close()


async def connect_admin(settings: KafkaSettings) -> AIOKafkaAdminClient:
    """An administrator's connection, as soon as the broker takes one."""

    async def attempt() -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(**connection(settings, "imex-admin"))
        try:
            await admin.start()
        except BaseException:
            await admin.close()
            raise
        return admin

    return await persist(
        attempt,
        again=lambda error: isinstance(error, (KafkaError, OSError)),
        stop=asyncio.Event(),
        initial_s=0.1,
        max_s=1.0,
        on_retry=lambda error, _attempt: log.info("Kafka is not ready: %s", type(error).__name__),
    )


async def _create(admin: AIOKafkaAdminClient, definitions: Sequence[NewTopic]) -> None:
    existing = set(await admin.list_topics())
    missing = [each for each in definitions if each.name not in existing]
    if not missing:
        return
    response = await admin.create_topics(missing, timeout_ms=30_000)
    for name, code, *_ in response.topic_errors:
        if code and code != TopicAlreadyExistsError.errno:
            raise for_code(code)(f"topic {name} could not be created")
    log.info("created %d topics", len(missing))


async def _grow(admin: AIOKafkaAdminClient, wanted: Mapping[str, int]) -> None:
    found = {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics(list(wanted))
        if not topic["error_code"]
    }
    more = {name: NewPartitions(count) for name, count in wanted.items() if 0 < found.get(name, 0) < count}
    if more:
        await admin.create_partitions(more, timeout_ms=30_000)


async def _configure(admin: AIOKafkaAdminClient, definitions: Sequence[NewTopic]) -> None:
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, each.name, each.topic_configs) for each in definitions
    ]
    for response in await admin.alter_configs(resources):
        for code, message, _, name in response.resources:
            if code:
                raise for_code(code)(f"topic {name} could not be configured: {message}")
