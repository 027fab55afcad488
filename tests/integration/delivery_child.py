"""A delivery worker as a process of its own, to be killed: `python -m tests.integration.delivery_child`.

Its arguments are the database's URL, the receiver's port, and the object store's endpoint and credentials.
"""

import asyncio
import sys

from pydantic import SecretStr
from tests.integration.delivery_world import World

from imex.db import Database
from imex.settings import S3Settings
from imex.storage import MinioStore


async def work(url: str, port: int, settings: S3Settings) -> None:
    """Carry whatever is due, for ever."""
    world = World(Database(url, "delivery"), MinioStore(settings))
    world.endpoint("RT3", port)
    async with world.working("killed"):
        await asyncio.Event().wait()


def main() -> None:
    """Read the arguments and work."""
    url, port, endpoint, access_key, secret_key = sys.argv[1:]
    settings = S3Settings(endpoint=endpoint, access_key=access_key, secret_key=SecretStr(secret_key))
    asyncio.run(work(url, int(port), settings))


if __name__ == "__main__":
    main()
