"""The engine of one service: its pool, its schema, its units of work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr
from sqlalchemy import MetaData, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from imex.db.tables.common import Common, common_tables
from imex.db.unit import UnitOfWork

ROLE_PREFIX = "imex_"
"""Login roles are this and the service's name, which is also its schema's."""


class Database:
    """A service's database: a pool of connections and the schema that the service owns."""

    def __init__(self, url: str | SecretStr, schema: str | None = None, pool_size: int = 5) -> None:
        """Nothing is connected yet.

        `schema` is by default the name of the role in `url` without `imex_`. `pool_size` connections stay
        open and as many more open under load; a unit waits up to 10 s for one.

        Raises:
            ValueError: no schema is given and the role's name does not say one.
        """
        text_url = url.get_secret_value() if isinstance(url, SecretStr) else url
        parsed = make_url(text_url).set(drivername="postgresql+psycopg")
        role = parsed.username or ""
        if schema is None and not role.startswith(ROLE_PREFIX):
            raise ValueError("the database URL's user is none of Imex's service roles; name the schema")
        self.schema: str = schema or role.removeprefix(ROLE_PREFIX)
        self.common: Common = common_tables(MetaData(schema=self.schema))
        self.written = asyncio.Event()
        """Set when a unit that publishes has committed, so that the relay wakes at once."""
        self.engine: AsyncEngine = create_async_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            pool_pre_ping=False,
            # a statement's parameters are patient data as often as not, and errors end in logs
            hide_parameters=True,
            connect_args={"connect_timeout": 5, "application_name": self.schema},
        )
        # the same pool: what is read by polling is most of what an idle service does
        self._looking = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[UnitOfWork]:
        """One transaction: commits on a clean exit, rolls back on any exception."""
        async with self.engine.connect() as connection, connection.begin():
            unit = UnitOfWork(connection, self.common)
            yield unit
            publishes = await unit.flush()
        if publishes:
            self.written.set()
        unit.committed()

    @asynccontextmanager
    async def look(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read from without a transaction: one round trip for each statement, not three."""
        async with self._looking.connect() as connection:
            yield connection

    async def ping(self) -> None:
        """One round trip. Raises what the driver raises."""
        async with self.look() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()
