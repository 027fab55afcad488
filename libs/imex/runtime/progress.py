"""How far another service has got with its topics: for decisions that must not overtake it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from imex.runtime.errors import Transient
from imex.runtime.kafka_client import close, connection
from imex.settings import KafkaSettings

_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Source:
    """A topic, and the consumer group that works through it."""

    topic: str
    group: str


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a topic ended at a moment."""

    at: datetime
    ends: Mapping[TopicPartition, int]


class Progress:
    """Says through which time a group has handled its topic, from the offsets that it has committed.

    Nothing is asked of the broker until somebody wants to know, which should be rare: an answer takes a turn
    or two. `turn` is for a `Background` loop.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, sources: Mapping[str, Source]) -> None:
        """`sources` are named as the caller likes to ask for them."""
        self._settings = settings
        self._client_id = client_id
        self._sources = sources
        self._wanted: set[str] = set()
        self._marks: dict[str, _Mark] = {}
        self._through: dict[str, datetime] = {}

    def through(self, name: str) -> datetime | None:
        """Everything produced until then has been handled; None while that is not known.

        Asks for a newer answer, too.
        """
        self._wanted.add(name)
        return self._through.get(name)

    async def turn(self) -> bool:
        """Answer what is wanted.

        Raises:
            Transient: the broker does not answer.
        """
        wanted, self._wanted = self._wanted, set()
        for name in sorted(wanted):
            try:
                async with asyncio.timeout(_WITHIN_S):
                    await self._look(name, self._sources[name])
            except (KafkaError, OSError, TimeoutError) as error:
                self._wanted |= wanted
                raise Transient(f"the progress of {name} is not known: {type(error).__name__}") from error
        return False

    async def _look(self, name: str, source: Source) -> None:
        # the group is only asked about: without a subscription nothing is joined
        client = AIOKafkaConsumer(
            **connection(self._settings, self._client_id), group_id=source.group, enable_auto_commit=False
        )
        try:
            await client.start()
            cluster = await client._client.fetch_all_metadata()
            numbers = cluster.partitions_for_topic(source.topic) or ()
            partitions = [TopicPartition(source.topic, number) for number in numbers]
            mark = self._marks.setdefault(
                name, _Mark(datetime.now(UTC), await client.end_offsets(partitions) if partitions else {})
            )
            starts = await client.beginning_offsets(partitions) if partitions else {}
            for partition, end in mark.ends.items():
                if end > starts[partition] and (await client.committed(partition) or 0) < end:
                    return
            self._through[name] = mark.at
            del self._marks[name]
        finally:
            await close(client, client._client)
