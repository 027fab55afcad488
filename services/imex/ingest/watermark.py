"""How full the object store is, and what that means for what comes in."""

from imex.events import Lane


class Unwatched:
    """Nobody looks: nothing is refused."""

    def refusal(self, lane: Lane) -> str | None:
        """See imex.ingest.ports.Fill."""
        return None
