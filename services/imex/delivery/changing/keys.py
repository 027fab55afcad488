"""Projects' keys, each derived once from the sealing key that the project began with."""

from collections.abc import Mapping

from imex.deidentification.keys import ProjectKey
from imex.delivery.changing.decide import MayNotLeave
from imex.delivery.changing.ledger import Ledger


class Keys:
    """The keys of this process."""

    def __init__(self, ledger: Ledger, sealing_keys: Mapping[str, bytes], current: str) -> None:
        """`current` names the key of projects that begin now."""
        self._ledger = ledger
        self._sealing_keys = sealing_keys
        self._current = current
        self._known: dict[str, ProjectKey] = {}

    async def of(self, project: str) -> ProjectKey:
        """A project's key.

        Raises:
            MayNotLeave: the sealing key that it is derived from is not there any more.
        """
        if (known := self._known.get(project)) is not None:
            return known
        key_id = await self._ledger.key_id(project, self._current)
        sealing_key = self._sealing_keys.get(key_id)
        if sealing_key is None:
            raise MayNotLeave(
                f"project {project} began with sealing key {key_id}, which IMEX_SEALING_KEYS lacks: "
                "add it again"
            )
        return self._known.setdefault(project, ProjectKey(sealing_key, project))
