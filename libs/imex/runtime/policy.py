"""The knobs of a consumer, with defaults that suit a bulk lane."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from imex.runtime.pace import LEAST_S, S_PER_RECORD


@dataclass(frozen=True, slots=True)
class Policy:
    """How a consumer batches, retries and gives up. Times in seconds."""

    batch_records: int = 64
    """At most so many records share one call of the handler and one transaction."""
    linger_s: float = 0.005
    """How long the first record of a batch waits for company; 0 for an express lane."""
    pace_cap_s: float = 0.3
    """The longest pause between two looks at the broker while records stream in; see `Pace`. 0 where they
    come in batches already, because the consumer before has paused."""
    pace_least_s: float = LEAST_S
    pace_s_per_record: float = S_PER_RECORD
    """How that pause grows with the rate."""
    concurrency: int = 4
    """Batches that run at once, of different keys."""
    order: Literal["key", "partition"] = "key"
    """What never runs twice at once and stays in order."""
    buffer_records: int = 500
    """Records of one partition in memory before it is paused; resumed at half."""
    fetch_bytes: int = 256 * 1024
    """`max_partition_fetch_bytes`: small, because a pause throws away what was fetched ahead."""
    attempts: int = 3
    """Tries of a record alone before it becomes a dead letter."""
    retry_initial_s: float = 0.05
    retry_max_s: float = 15.0
    """Back-off of transient failures, jittered, without an end."""
    commit_every_s: float = 0.25
    drain_s: float = 30.0
    """The one deadline of a rebalance and of a stop; below `rebalance_timeout` of 60 s."""
    breaker_limit: int = 10
    breaker_window_s: float = 60.0
    """So many failures in a row within that time stop the pipeline instead of making dead letters."""
    read_margin_s: float = 0.5
    """Taken off what an idle partition claims to have been read through, for clocks that differ."""
    stalled_s: float = 90.0
    """Not live when the intake loop has not turned for so long; longer than a rebalance may take."""
    parked_poll_s: float = 0.5
    start: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets begins."""
    transient: Sequence[type[BaseException]] = ()
    """Exceptions that count as a dependency being away, beside the database, Kafka and `Transient`."""
