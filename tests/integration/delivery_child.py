"""A delivery worker as a process of its own, to be killed: `python -m tests.integration.delivery_child`.

Its arguments are the database's URL, the receiver's port, the object store's endpoint and credentials, the
name of the process, and what it is about: `sends`, `confirms` what it sends by queries, fills an `inbox`, or
does so and never comes to write what lies there (`unrecorded`).
"""

import asyncio
import sys

from pydantic import SecretStr
from tests.integration.delivery_world import World

from imex.db import Database
from imex.delivery.repository import Repository
from imex.settings import S3Settings
from imex.storage import MinioStore

DEIDENTIFIED = {
    "id": "a1",
    "from": "RQM",
    "to": "RT3",
    "purposes": ["research"],
    "deidentify": {"project": "p1"},
}
"""An agreement under which everything is written for an inbox."""


async def never(*_: object) -> None:
    """Take for ever."""
    await asyncio.Event().wait()


async def work(url: str, port: int, settings: S3Settings, name: str, about: str = "sends") -> None:
    """Carry whatever is due, for ever."""
    world = World(Database(url, "delivery"), MinioStore(settings))
    match about:
        case "sends":
            world.endpoint("RT3", port)
        case "confirms":
            world.endpoint("RT3", port, confirm="query")
        case _:
            world.endpoint("RT3", 0, type="inbox")
            world.agreements(DEIDENTIFIED)
    if about == "unrecorded":
        setattr(Repository, "record", never)  # noqa: B010  a method is not assigned to
    async with world.working(name, idle_s=1.0):
        await asyncio.Event().wait()


def main() -> None:
    """Read the arguments and work."""
    url, port, endpoint, access_key, secret_key, name, *what = sys.argv[1:]
    settings = S3Settings(endpoint=endpoint, access_key=access_key, secret_key=SecretStr(secret_key))
    asyncio.run(work(url, int(port), settings, name, *what))


if __name__ == "__main__":
    main()
