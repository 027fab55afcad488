"""What one part of this process tells another. It only saves the wait for the next look at the database."""

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from uuid import UUID

from imex.delivery.jobs import Instance


class Bell:
    """Wakes everyone who waits. What rings after `listen` is heard by a later `wait`."""

    def __init__(self) -> None:
        """Silent at first."""
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever has been listening."""
        rung, self._event = self._event, asyncio.Event()
        rung.set()

    def listen(self) -> asyncio.Event:
        """From now on: take it before looking at what may change."""
        return self._event


class Inlet:
    """What comes to one delivery while an attempt at it runs."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._instances: list[Instance] = []
        self.came = asyncio.Event()
        """Something has happened since `take`."""
        self.changed = True
        """More may have changed than that there is more to send; whoever has looked says that it is known."""

    def put(self, instances: Sequence[Instance], *, changed: bool) -> None:
        """More to send; `changed` when something else of the manifest came, such as its end."""
        self._instances.extend(instances)
        self.changed = self.changed or changed
        self.came.set()

    def take(self) -> list[Instance]:
        """All that has come since the last time."""
        self.came.clear()
        taken, self._instances = self._instances, []
        return taken


class Arrivals:
    """Hands what the consumers of this process have committed to the attempts that run in it.

    PostgreSQL's NOTIFY would reach other processes too, and would serialise the commits of the whole
    database; they look from time to time instead.
    """

    def __init__(self, bell: Bell) -> None:
        """`bell` is rung for a delivery that nobody here carries."""
        self._bell = bell
        self._open: dict[UUID, Inlet] = {}

    @contextlib.contextmanager
    def inlet(self, delivery: UUID) -> Iterator[Inlet]:
        """Open while an attempt at the delivery runs."""
        made = self._open[delivery] = Inlet()
        try:
            yield made
        finally:
            if self._open.get(delivery) is made:
                del self._open[delivery]

    def ring(self) -> None:
        """Something else has changed that deliveries may wait for."""
        self._bell.ring()

    def committed(
        self, listed: Mapping[UUID, Sequence[Instance]], changed: Collection[UUID] = frozenset()
    ) -> None:
        """What is new in each of these deliveries can be seen by everyone now, and what has `changed`."""
        rings = False
        for delivery, instances in listed.items():
            inlet = self._open.get(delivery)
            if inlet is None:
                rings = True
            else:
                inlet.put(instances, changed=not instances or delivery in changed)
        if rings:
            self._bell.ring()
