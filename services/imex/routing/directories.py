"""What routing needs of the directory feed."""

from typing import Protocol

from imex.directory import DirectoryIndex


class Directories(Protocol):
    """The directory as it is known here."""

    @property
    def index(self) -> DirectoryIndex:
        """The version in force."""
        ...

    async def wait_for(self, version: str) -> None:
        """Return once this version, or a later one, is known here."""
        ...
