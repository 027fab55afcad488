"""Which lane a study's first instance took: later ones keep it, so that their order holds."""

from collections import OrderedDict
from collections.abc import Callable

from imex.events import Lane


class LaneMemory:
    """The studies seen last, bounded; forgetting one costs order across lanes, never an instance."""

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._lanes: OrderedDict[tuple[str, str], Lane] = OrderedDict()

    def lane(self, source: str, study_uid: str, decide: Callable[[], Lane]) -> Lane:
        """The lane of a study; `decide` is asked for its first instance only."""
        key = (source, study_uid)
        known = self._lanes.get(key)
        if known is not None:
            self._lanes.move_to_end(key)
            return known
        chosen = self._lanes[key] = decide()
        if len(self._lanes) > self._most:
            self._lanes.popitem(last=False)
        return chosen

    def known(self, source: str, study_uid: str) -> Lane | None:
        """The lane that was chosen; None where none was, or it is forgotten."""
        return self._lanes.get((source, study_uid))
