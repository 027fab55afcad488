"""A delivery worker as a process of its own, to be killed: `python -m tests.integration.delivery_child`.

Its arguments are the database's URL, the receiver's port, the object store's endpoint and credentials, and
the name of the process.
"""

import asyncio
import sys

from pydantic import SecretStr
from tests.integration.delivery_world import World

from imex.db import Database
from imex.settings import S3Settings
from imex.storage import MinioStore


async def work(url: str, port: int, settings: S3Settings, name: str) -> None:
    """Carry whatever is due, for ever."""
    world = World(Database(url, "delivery"), MinioStore(settings))
    world.endpoint("RT3", port)
    async with world.working(name, idle_s=1.0):
        await asyncio.Event().wait()


def main() -> None:
    """Read the arguments and work."""
    url, port, endpoint, access_key, secret_key, name = sys.argv[1:]
    settings = S3Settings(endpoint=endpoint, access_key=access_key, secret_key=SecretStr(secret_key))
    asyncio.run(work(url, int(port), settings, name))


if __name__ == "__main__":
    main()
