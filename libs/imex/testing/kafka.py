"""Fixtures: a real broker for a test session, and topics of a test's own."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka.admin import NewTopic

from imex.runtime.topics import connect_admin
from imex.settings import KafkaSettings
from imex.testing.parts import KafkaPart, kafka_part


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaPart]:
    """A broker with SCRAM, shared by the session; a test that stops it starts it again."""
    users = tuple(
        f"imex-{name}" for name in ("ingest", "validation", "routing", "delivery", "audit", "portal")
    )
    with kafka_part(tmp_path_factory.mktemp("kafka"), users) as part:
        yield part


@pytest.fixture
def kafka_settings(kafka: KafkaPart) -> KafkaSettings:
    """How to reach the session's broker as its super user."""
    return KafkaSettings.model_validate(
        {"bootstrap": kafka.bootstrap, "username": kafka.username, "password": kafka.password}
    )


async def make_topic(settings: KafkaSettings, partitions: int = 3) -> str:
    """A new topic with a name of its own, and its dead-letter topic."""
    name = f"t{uuid.uuid4().hex[:12]}"
    admin = await connect_admin(settings)
    try:
        response = await admin.create_topics([NewTopic(name, partitions, 1), NewTopic(f"dead.{name}", 1, 1)])
        assert all(code == 0 for _, code, *_ in response.topic_errors), response
    finally:
        await admin.close()
    return name


@pytest.fixture
async def topic(kafka_settings: KafkaSettings) -> AsyncIterator[str]:
    """A topic of three partitions."""
    yield await make_topic(kafka_settings)
