"""The way to ingest: a store transaction is streamed on, with a statement of who sends."""

from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect

from imex.dicomweb.door import AWAY, BodyBroke, Door, NotTaken
from imex.dicomweb.outcome import RETRY_AFTER_S, StowOutcome
from imex.dicomweb.statement import Statement
from imex.portal.problems import Problem
from imex.runtime.health import Health
from imex.settings.stow import StowDoorSettings


class Ingest:
    """A part of the portal: connections to ingest."""

    name = "ingest"

    def __init__(self, settings: StowDoorSettings) -> None:
        self._door = Door(settings.url, settings.secret.get_secret_value())

    async def start(self) -> None:
        """Connections are made as they are needed."""

    async def stop(self) -> None:
        """Let go of connections."""
        await self._door.close()

    def health(self) -> Health:
        """Nothing of its own to say: whether ingest is there shows when something is sent."""
        return Health()

    async def store(self, statement: Statement, address: str, body: AsyncIterator[bytes]) -> StowOutcome:
        """Hand one request on. Raises Problem with what there is to say where nothing was stored."""
        try:
            return await self._door.store(statement, address, body)
        except NotTaken as error:
            retry = error.retry_after_s
            headers = {"Retry-After": str(retry)} if retry is not None else None
            raise Problem(error.status, str(error), headers=headers) from error
        except BodyBroke as error:
            if isinstance(error.__cause__, ClientDisconnect):
                raise Problem(400, "The body ended before its end.") from error
            raise Problem(503, AWAY, headers={"Retry-After": str(RETRY_AFTER_S)}) from error
