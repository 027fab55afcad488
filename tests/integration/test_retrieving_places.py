"""Retrievals have few places in a process: whose archive is slow leaves some to the others."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy.schema import CreateSchema
from tests.integration.delivery_world import until
from tests.integration.retrieving_world import Retrievals

from imex.db import Database
from imex.db.tables import delivery as tables
from imex.delivery.retrieving.archive import Fetched
from imex.delivery.retrieving.matching import Answer
from imex.directory import DirectoryIndex
from imex.directory.model import Directory

NODE = {"type": "dicom", "ae_title": "RQM_PACS", "host": "127.0.0.1", "port": 4242, "query": True}
TWO_HOLDERS = {
    "institutions": [
        {"code": code, "name": code, "kind": "nhs", "endpoints": [{"name": name, **NODE}]}
        for code, name in (("RQM", "slow"), ("RXX", "quick"))
    ]
}


@dataclass
class Archives:
    """One answers only once a test lets it."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)

    async def ask(self, endpoint: object, *_: object) -> list[Answer]:
        name = str(getattr(endpoint, "name", ""))
        self.asked.append(name)
        if name == "slow":
            await self.over.wait()
        return []

    async def fetch(self, *_: object) -> Fetched:
        return Fetched(0)


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[Retrievals]:
    database = Database(empty_database_url, "delivery")
    async with database.engine.begin() as connection:
        await connection.execute(CreateSchema("delivery"))
        await connection.run_sync(tables.metadata.create_all)
    yield Retrievals(database, DirectoryIndex(Directory.model_validate(TWO_HOLDERS)))
    await database.close()


async def test_a_slow_archive_leaves_places_to_other_holders_and_gets_through_its_own(
    world: Retrievals,
) -> None:
    archives = Archives()
    mine = [await world.order({"study_uid": "1.2.3"}, endpoints=("slow",)) for _ in range(5)]

    async def asked() -> list[str]:
        return archives.asked

    async with world.working({"dicom": archives}):
        await until(asked, lambda names: len(names) == 2)
        other = await world.order({"study_uid": "1.2.3"}, holder="RXX", endpoints=("quick",))
        assert await world.ended(other, 5.0) == "nothing found"
        assert archives.asked.count("slow") == 2, "half of the four places"
        archives.over.set()
        for request in mine:
            assert await world.ended(request, 10.0) == "nothing found"
