"""The directory feed on a real broker."""

import hashlib
from uuid import uuid4

import pytest
import rfc8785

from imex.directory import Directory, digest, parse
from imex.directory.document import as_document
from imex.events.directory import DirectoryApplied, DirectoryAppliedData
from imex.runtime import Producer, Transient
from imex.runtime.directory_feed import DirectoryFeed
from imex.settings import KafkaSettings
from imex.testing.kafka import make_topic
from imex.testing.parts import KafkaPart
from imex.testing.runtime import running, until
from imex.testing.storage import MemoryStore


def directory(*codes: str) -> Directory:
    lines = [f"  - {{code: {code}, name: Hospital {code}, kind: nhs}}" for code in codes]
    return parse("\n".join(["institutions:", *lines]))


async def apply(store: MemoryStore, producer: Producer, topic: str, number: int, made: Directory) -> str:
    body = rfc8785.dumps(as_document(made))
    version = digest(made)
    await store.put(f"versions/{version}.json", body, {}, hashlib.sha256(body).hexdigest())
    data = DirectoryAppliedData(
        number=number, version=version, object_key=f"versions/{version}.json", applied_by="test"
    )
    await producer.send(DirectoryApplied.of(id=uuid4(), subject="directory", data=data), topic)
    return version


async def test_a_new_version_is_in_force_within_a_moment(kafka_settings: KafkaSettings) -> None:
    topic = await make_topic(kafka_settings, partitions=1)
    store, producer = MemoryStore(), Producer(kafka_settings)
    feed = DirectoryFeed(kafka_settings, store, topic=topic)
    assert feed.current() is None
    async with running(producer, feed):
        await until(lambda: feed.health().ready)
        assert list(feed.index.institutions) == []
        first = await apply(store, producer, topic, 1, directory("AAA"))
        await feed.wait_for(first)
        assert feed.index.version == first
        second = await apply(store, producer, topic, 2, directory("AAA", "BBB"))
        await feed.wait_for(second)
        assert feed.index.version == second
        assert set(feed.index.institutions) == {"AAA", "BBB"}
        # an older one is known, and one from before the topic's memory is settled by reading to its end
        await feed.wait_for(first)
        await feed.wait_for("0" * 64)


async def test_a_new_process_starts_from_the_newest_announcement(kafka_settings: KafkaSettings) -> None:
    topic = await make_topic(kafka_settings, partitions=1)
    store, producer = MemoryStore(), Producer(kafka_settings)
    async with running(producer):
        await apply(store, producer, topic, 1, directory("AAA"))
        newest = await apply(store, producer, topic, 2, directory("BBB"))
    feed = DirectoryFeed(kafka_settings, store, topic=topic)
    async with running(feed):
        await until(lambda: feed.health().ready and feed.number == 2)
        assert feed.index.version == newest


async def test_a_version_whose_document_is_not_there_leaves_the_last_one_in_force(
    kafka_settings: KafkaSettings,
) -> None:
    topic = await make_topic(kafka_settings, partitions=1)
    store, producer = MemoryStore(), Producer(kafka_settings)
    feed = DirectoryFeed(kafka_settings, store, topic=topic)
    async with running(producer, feed):
        first = await apply(store, producer, topic, 1, directory("AAA"))
        await until(lambda: feed.number == 1)
        missing = DirectoryAppliedData(number=2, version="f" * 64, object_key="versions/f", applied_by="test")
        await producer.send(DirectoryApplied.of(id=uuid4(), subject="directory", data=missing), topic)
        await until(lambda: "cannot follow" in feed.health().detail)
        assert feed.index.version == first
        assert feed.health().ready
        await apply(store, producer, topic, 3, directory("CCC"))
        await until(lambda: feed.number == 3)


async def test_without_kafka_the_stored_document_serves(kafka: KafkaPart) -> None:
    store = MemoryStore()
    made = directory("AAA")
    body = rfc8785.dumps(as_document(made))
    await store.put(f"versions/{digest(made)}.json", body, {}, hashlib.sha256(body).hexdigest())
    nowhere = KafkaSettings.model_validate({"bootstrap": "127.0.0.1:9"})
    feed = DirectoryFeed(nowhere, store)
    async with running(feed):
        await until(lambda: feed.health().ready)
        assert feed.index.version == digest(made)
        with pytest.raises(Transient):
            await feed.wait_for("f" * 64)
