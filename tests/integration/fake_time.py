"""A clock that a test moves, in this process and in its database alike.

`now()` in statements finds a function of this name before PostgreSQL's own, because the database's search
path names its schema first; `time_machine` moves Python's clocks. What runs against it is the code as it is.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import time_machine
from sqlalchemy import make_url

_MAKE = """
    CREATE SCHEMA fake;
    CREATE TABLE fake.clock (ahead interval NOT NULL);
    INSERT INTO fake.clock VALUES (interval '0');
    CREATE FUNCTION fake.now() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT pg_catalog.now() + ahead FROM fake.clock';
"""


@dataclass
class FakeTime:
    """How far ahead of the real clocks it is."""

    url: str
    traveller: time_machine.Traveller

    def pass_by(self, step: timedelta) -> None:
        """So much time passes at once."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("UPDATE fake.clock SET ahead = ahead + %s", (step,))
        self.traveller.shift(step)


@contextmanager
def fake_time(database_url: str) -> Iterator[FakeTime]:
    """Connections that are opened inside the block see the database's part of it."""
    name = make_url(database_url).database
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_MAKE.encode())
        connection.execute(f'ALTER DATABASE "{name}" SET search_path TO fake, pg_catalog, public'.encode())
    with time_machine.travel(time.time(), tick=True) as traveller:
        yield FakeTime(database_url, traveller)
