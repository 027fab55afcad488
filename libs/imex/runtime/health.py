"""What a component says about itself."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Health:
    """`live` false: restart me. `ready` false: send me nothing. `detail`: in words, what is degraded."""

    live: bool = True
    ready: bool = True
    detail: str = ""


class Component(Protocol):
    """Something with a life cycle that a service is composed of."""

    @property
    def name(self) -> str:
        """For logs and /ready."""
        ...

    async def start(self) -> None:
        """Begin to work; returns when it does."""
        ...

    async def stop(self) -> None:
        """End what runs, within a bound of its own."""
        ...

    def health(self) -> Health:
        """How it is doing; must not block."""
        ...
