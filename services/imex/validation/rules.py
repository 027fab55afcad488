"""The directory as validation needs it: for each source, what findings do."""

from collections.abc import Iterable
from typing import Literal, Protocol

from imex.directory import DirectoryIndex
from imex.runtime import Transient
from imex.validation.policy import Policies, Policy


class Directories(Protocol):
    """The directory as it is known here."""

    def current(self) -> DirectoryIndex | None:
        """The version in force; None while it is not known yet."""
        ...

    async def wait_for(self, version: str) -> None:
        """Return once this version, or a later one, is known here."""
        ...


class DirectoryRules:
    """Policies of the directory in force, made once a version."""

    def __init__(self, directories: Directories, test_numbers: Literal["warn", "ok"]) -> None:
        """`test_numbers` says whether NHS numbers of the test range are worth a warning on this stack."""
        self._directories = directories
        self._test_numbers = test_numbers

    async def policy(self, source: str, versions: Iterable[str]) -> Policy:
        """The policy for a source, once these versions are known here.

        Raises:
            Transient: they are not yet; by another directory than the sender's it could be judged wrongly.
        """
        for version in versions:
            await self._directories.wait_for(version)
        index = self._directories.current()
        if index is None:
            raise Transient("the directory is not known yet")
        kept = index.kept.get(Policies)
        if kept is None:
            kept = index.kept[Policies] = Policies(index.directory, self._test_numbers)
        policies: Policies = kept
        return policies.of(source)
