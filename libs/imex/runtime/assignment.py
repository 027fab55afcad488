"""The partitions a consumer holds from one rebalance to the next."""

import asyncio
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from imex.runtime.ledger import Ledger


@dataclass(slots=True)
class Assignment:
    """Ledgers of the partitions of one generation. `revoked` is set when they are no longer ours."""

    ledgers: dict[TopicPartition, Ledger] = field(default_factory=dict)
    revoked: asyncio.Event = field(default_factory=asyncio.Event)

    def ledger(self, partition: TopicPartition) -> Ledger:
        """The ledger of a partition, begun when it is new."""
        return self.ledgers.setdefault(partition, Ledger())

    def to_commit(self) -> dict[TopicPartition, int]:
        """What the broker does not know yet."""
        found = ((partition, ledger.to_commit()) for partition, ledger in self.ledgers.items())
        return {partition: offset for partition, offset in found if offset is not None}

    def committed(self, offsets: dict[TopicPartition, int]) -> None:
        """The broker knows `offsets`."""
        for partition, offset in offsets.items():
            self.ledgers[partition].committed(offset)
