"""What asks destinations what they have."""

from typing import Protocol

from imex.directory.model import Endpoint


class CannotAsk(Exception):
    """The destination cannot be asked, or not now; the words are fit for a timeline."""


class Asker(Protocol):
    """Asks endpoints of one type what they have."""

    async def held(self, endpoint: Endpoint, study_uid: str, wanted: frozenset[str]) -> set[str]:
        """Those SOP Instance UIDs of `wanted` that are there, of one study.

        Raises:
            CannotAsk: nobody knows.
        """
        ...
