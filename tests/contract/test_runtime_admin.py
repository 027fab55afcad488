"""Topics and access rules on a real broker with an authorizer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from imex.db import Database, UnitOfWork
from imex.events import TOPICS, topic_named
from imex.runtime import BrokerUnavailable, Consumer, Message, Policy, Producer
from imex.runtime.admin import ensure_acls, ensure_topics
from imex.runtime.progress import Progress, Source
from imex.runtime.topics import connect_admin
from imex.settings import KafkaSettings
from imex.testing.parts import KafkaPart, kafka_part
from imex.testing.runtime import read_all, running, sample_event, until


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaPart]:
    """A broker of this module's own: the catalogue's topics get their real names."""
    with kafka_part(
        tmp_path_factory.mktemp("kafka"), ("imex-ingest", "imex-validation", "imex-routing")
    ) as part:
        yield part


def settings_of(part: KafkaPart, user: str) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {"bootstrap": part.bootstrap, "username": user, "password": part.users[user]}
    )


async def partitions_and_retention(settings: KafkaSettings, topic: str) -> tuple[int, str]:
    admin = await connect_admin(settings)
    try:
        (described,) = await admin.describe_topics([topic])
        (configured,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        (resource,) = configured.resources
        values = {entry[0]: entry[1] for entry in resource[4]}
        return len(described["partitions"]), values["retention.ms"]
    finally:
        await admin.close()


async def test_topics_are_made_grown_and_corrected_and_never_shrunk(guarded: KafkaPart) -> None:
    admin = settings_of(guarded, guarded.username)
    sample = replace(topic_named("audit"), name="sample", partitions=2, retention_ms=1000)
    await ensure_topics(admin, [sample])
    assert await partitions_and_retention(admin, "sample") == (2, "1000")
    await ensure_topics(admin, [replace(sample, partitions=3, retention_ms=2000)])
    assert await partitions_and_retention(admin, "sample") == (3, "2000")
    await ensure_topics(admin, [sample])
    assert await partitions_and_retention(admin, "sample") == (3, "1000")


async def test_services_do_what_the_catalogue_says_and_nothing_else(
    guarded: KafkaPart, database: Database, tmp_path: Path
) -> None:
    admin = settings_of(guarded, guarded.username)
    await ensure_topics(admin, TOPICS)
    await ensure_acls(admin, TOPICS)
    await ensure_acls(admin, TOPICS)

    handled: list[str] = []

    async def handler(messages: list[Message], _unit: UnitOfWork) -> None:
        handled.extend(message.key for message in messages)
        if any(message.key == "RQM/bad" for message in messages):
            raise KeyError

    ingest = Producer(settings_of(guarded, "imex-ingest"), timeout_s=3)
    consumer = Consumer(
        settings_of(guarded, "imex-validation"),
        "imex-validation-bulk",
        ["instances.bulk"],
        handler,  # type: ignore[arg-type]
        database,
        Policy(attempts=1),
    )
    async with running(ingest, consumer):
        await ingest.send(sample_event("good"))
        await ingest.send(sample_event("bad"))
        (letter,) = await read_all(admin, "dead.instances.bulk", 1)
        await until(lambda: "RQM/good" in handled)
        with pytest.raises(BrokerUnavailable):
            await ingest.send(sample_event("s"), topic="shares")
        # a refusal is no outage: the producer goes on with what it may do
        await ingest.send(sample_event("later"))
        await until(lambda: "RQM/later" in handled)
    assert letter.key == b"RQM/bad"


async def test_routing_may_see_how_far_validation_has_got(guarded: KafkaPart) -> None:
    admin = settings_of(guarded, guarded.username)
    await ensure_topics(admin, TOPICS)
    await ensure_acls(admin, TOPICS)
    source = Source("instances.express", "imex-validation-express")
    progress = Progress(settings_of(guarded, "imex-routing"), "imex-routing", {"it": source})
    assert progress.through("it") is None
    await progress.turn()
    assert progress.through("it") is not None
    async with running(producer := Producer(settings_of(guarded, "imex-ingest"))):
        await producer.send(sample_event(), source.topic)
    before = progress.through("it")
    for _ in range(2):
        await progress.turn()
        assert progress.through("it") == before
