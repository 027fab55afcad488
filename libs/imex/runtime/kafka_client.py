"""What every Kafka client of ours has in common."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from imex.settings import KafkaSettings

REQUEST_TIMEOUT_MS = 15_000
_CONNECT_S = 20.0
_CLOSE_S = 3.0
FETCH_WAIT_MS = 500
"""How long the broker holds a fetch when there is nothing: it answers at once when there is."""


def connection(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """aiokafka's arguments for reaching the broker as `settings` say.

    Raises:
        OSError: the CA file cannot be read.
    """
    secured = "SASL" if settings.username else ""
    encrypted = "SSL" if settings.tls_ca else "PLAINTEXT"
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "client_id": client_id,
        "security_protocol": f"{secured}_{encrypted}" if secured else encrypted,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "metadata_max_age_ms": 60_000,
    }
    if settings.username:
        arguments |= {
            "sasl_mechanism": settings.mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.password.get_secret_value(),
        }
    if settings.tls_ca:
        arguments["ssl_context"] = ssl.create_default_context(cafile=settings.tls_ca)
    return arguments


@asynccontextmanager
async def following(settings: KafkaSettings, partition: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of one partition without a group and without commits; its user says where it begins.

    Raises KafkaError, OSError or TimeoutError where there is no connection, UnknownTopicOrPartitionError
    where there is no such topic: aiokafka would ask for it thousands of times a second.
    """
    client = AIOKafkaConsumer(
        **connection(settings, f"imex-{partition.topic}"),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    try:
        await asyncio.wait_for(client.start(), _CONNECT_S)
        if partition.topic not in await asyncio.wait_for(client.topics(), _CONNECT_S):
            raise UnknownTopicOrPartitionError(partition.topic)
        client.assign([partition])
        yield client
    finally:
        await close(client, client._client)


class _Stops(Protocol):
    async def stop(self) -> None: ...


class _Closes(Protocol):
    async def close(self) -> None: ...


async def close(client: _Stops, connections: _Closes) -> None:
    """Stop a consumer or producer; if that takes too long or fails, close its `connections` underneath.

    aiokafka's stop waits for ever for a broker that is away (#1101), and may raise the cancellation of one
    of its own tasks, which must not be taken for ours.
    """
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait([stopping], timeout=_CLOSE_S)
    if stopping.done() and not stopping.cancelled() and stopping.exception() is None:
        return
    stopping.cancel()
    await asyncio.wait([stopping], timeout=1.0)
    await connections.close()
