"""How the network is doing: every service asked, and what the database knows."""

import asyncio
import time
from collections.abc import Mapping

import aiohttp
from pydantic import BaseModel, Field

from imex.portal.context import Portal
from imex.portal.queries import destinations, directories, network
from imex.portal.queries.destinations import Destination
from imex.portal.scope import Scope

ASK_TIMEOUT_S = 2.0
STALE_S = 60.0
"""An outbox whose oldest event is older than this is stuck."""


class ServiceHealth(BaseModel):
    """One service, as it answered."""

    name: str
    ready: bool
    detail: str
    ms: float = Field(description="how long it took to answer")


class NetworkHealth(BaseModel):
    """The whole network."""

    status: str = Field(description="ok, or degraded")
    problems: list[str]
    services: list[ServiceHealth]
    backlogs: list[network.Backlog]
    waiting: network.Waiting
    destinations: list[Destination] = Field(
        description="of the caller's institution and those it sends to: the ones that take nothing now; that"
        " is no problem of the network's own"
    )


async def look(portal: Portal, scope: Scope) -> NetworkHealth:
    """Ask everyone at once; nobody is waited for longer than two seconds."""
    async with portal.database.engine.connect() as connection:
        backlogs = await network.backlogs(connection)
        waiting = await network.waiting(connection)
        directory = (await directories.in_force(connection)).directory
        held = await destinations.listed(connection, scope, directory, held_only=True)
    services = await ask_services(portal.settings.services)
    problems = [f"{one.name} is not ready: {one.detail}" for one in services if not one.ready]
    problems += [
        f"{one.service} has {one.unpublished} events to publish, the oldest for {one.oldest_s:.0f} s"
        for one in backlogs
        if one.oldest_s > STALE_S
    ]
    return NetworkHealth(
        status="degraded" if problems else "ok",
        problems=problems,
        services=services,
        backlogs=backlogs,
        waiting=waiting,
        destinations=held,
    )


async def ask_services(urls: Mapping[str, str]) -> list[ServiceHealth]:
    """What each service's /ready answers."""
    timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return list(await asyncio.gather(*(_ask(session, name, url) for name, url in urls.items())))


async def _ask(session: aiohttp.ClientSession, name: str, url: str) -> ServiceHealth:
    started = time.monotonic()
    try:
        async with session.get(url) as answer:
            ready, detail = answer.status == 200, (await answer.text())[:300]
    except (aiohttp.ClientError, TimeoutError, ValueError):
        ready, detail = False, "does not answer"
    return ServiceHealth(
        name=name,
        ready=ready,
        detail="" if ready else detail,
        ms=round((time.monotonic() - started) * 1000, 1),
    )
