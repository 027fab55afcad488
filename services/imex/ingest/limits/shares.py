"""Pure: how a limit on bytes is shared out among the processes, so that the parts never exceed it.

The share of an epoch follows from the demand at its beginning, which every reader of the topic knows alike. A
process uses the least of its shares in the last epochs: two processes of which one has read up to two epochs
less than the other still have one epoch in common, and the shares of one epoch never exceed the limit.
"""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from imex.ingest.limits.ledger import Demand, Wants


def fair(limit: int, demands: Sequence[int]) -> list[int]:
    """Shares of `limit`, max-min fair over what is wanted; what is left over is for all alike, to grow into.

    Nobody gets less than what it wants while another gets more than an equal part of the limit.
    """
    shares = [0] * len(demands)
    left = limit
    for rank, index in enumerate(sorted(range(len(demands)), key=lambda i: demands[i])):
        shares[index] = min(max(demands[index], 0), left // (len(demands) - rank))
        left -= shares[index]
    if demands:
        shares = [share + left // len(demands) for share in shares]
    return shares


Needs = Callable[[Mapping[str, Wants]], int]
"""Of what a process wants, by institution, the sum that a limit is about."""


def rate_of(institution: str = "") -> Needs:
    """Bytes a second; of one institution, or of all."""
    return lambda wants: sum(one.bytes_per_s for code, one in wants.items() if institution in ("", code))


def in_flight_of(institution: str = "") -> Needs:
    """Bytes in flight; of one institution, or of all."""
    return lambda wants: sum(one.in_flight_bytes for code, one in wants.items() if institution in ("", code))


def share(epoch: Demand, process: UUID, limit: int, needs: Needs) -> int:
    """The share of one process in one epoch; 0 for one that was not known then."""
    if process not in epoch:
        return 0
    order = sorted(epoch)
    return fair(limit, [needs(epoch[one]) for one in order])[order.index(process)]


def entitlement(
    epochs: Sequence[Demand], live: Sequence[UUID], process: UUID, limit: int, needs: Needs
) -> int:
    """What a process may use now. Everything for one that is alone, as far as is known."""
    others = any(one != process for one in live) or any(one != process for epoch in epochs for one in epoch)
    if not others:
        return limit
    return min((share(epoch, process, limit, needs) for epoch in epochs), default=0)


def part(limit: int, processes: int, rank: int) -> int:
    """An equal part in whole numbers; the parts of all ranks sum to the limit."""
    return limit // processes + (1 if rank < limit % processes else 0)
