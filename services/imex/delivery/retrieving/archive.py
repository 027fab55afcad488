"""What an archive of a holder is asked for, whatever it speaks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from imex.delivery.retrieving.matching import Answer, Within
from imex.directory.model import Endpoint
from imex.events import Priority

MOST_ANSWERS: Final = 5_000
"""Of one question: an archive that does not narrow them is asked no further."""


Meant = Callable[[Answer], bool]
"""Whether a study is one of those that are asked for."""


class Away(Exception):
    """The archive cannot be asked now, in words that name nobody; it is tried again."""

    def __init__(self, words: str, again_after: float = 0.0, *, of_study: bool = False) -> None:
        super().__init__(words)
        self.again_after = again_after
        """Seconds that it asks to be left alone."""
        self.of_study = of_study
        """It may be the study, and not the archive, that is the trouble: it is not tried for ever."""


class NotDone(Exception):
    """The archive does not do it, in words that name nobody: trying again changes nothing."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an archive says that it has sent of a study."""

    instances: int
    failed: int = 0
    words: str = ""


class Archive(Protocol):
    """Asks archives of one type."""

    async def ask(
        self, endpoint: Endpoint, keys: Iterable[tuple[str, str]], within: Within, meant: Meant
    ) -> list[Answer]:
        """Studies with one of the keys; only answers that are `meant` are kept.

        Raises:
            Away, NotDone: see there.
        """
        ...

    async def fetch(self, endpoint: Endpoint, study_uid: str, holder: str, priority: Priority) -> Fetched:
        """Have a study sent to ingest, as the holder's; returns when the archive has done so.

        Raises:
            Away, NotDone: see there.
        """
        ...
