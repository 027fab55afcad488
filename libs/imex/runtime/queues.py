"""Order per key with concurrency across keys: which records may run now."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

G = TypeVar("G", bound=Hashable)
W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class Item(Generic[G, W]):
    """A piece of work and the group within which it keeps its order."""

    group: G
    work: W
    arrived: float


class KeyQueues(Generic[G, W]):
    """Work waiting by group. A group is in at most one running batch."""

    def __init__(self) -> None:
        """Empty."""
        self._waiting: dict[G, deque[Item[G, W]]] = {}
        self._ready: OrderedDict[G, None] = OrderedDict()
        self._running: set[G] = set()

    def __len__(self) -> int:
        """How many items wait."""
        return sum(map(len, self._waiting.values()))

    def add(self, item: Item[G, W]) -> None:
        """Put an item behind the others of its group."""
        self._waiting.setdefault(item.group, deque()).append(item)
        if item.group not in self._running:
            self._ready.setdefault(item.group)

    def ready(self, limit: int) -> tuple[int, float | None]:
        """How many items could run now, counted up to `limit`, and when the first of them arrived."""
        count, oldest = 0, None
        for group in self._ready:
            waiting = self._waiting[group]
            count += len(waiting)
            oldest = waiting[0].arrived if oldest is None else min(oldest, waiting[0].arrived)
            if count >= limit:
                break
        return min(count, limit), oldest

    def take(self, limit: int) -> list[Item[G, W]]:
        """Up to `limit` items for one batch, those of a group together and in order.

        Their groups run until `free` gives them back.
        """
        taken: list[Item[G, W]] = []
        while self._ready and len(taken) < limit:
            group, _ = self._ready.popitem(last=False)
            waiting = self._waiting[group]
            self._running.add(group)
            while waiting and len(taken) < limit:
                taken.append(waiting.popleft())
            if not waiting:
                del self._waiting[group]
        return taken

    def free(self, groups: Iterable[G]) -> None:
        """The batch with `groups` has ended."""
        for group in groups:
            self._running.discard(group)
            if group in self._waiting:
                self._ready.setdefault(group)

    def clear(self) -> None:
        """Drop what has not started; what runs stays marked until it is given back."""
        self._waiting.clear()
        self._ready.clear()
