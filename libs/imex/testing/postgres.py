"""Fixtures: a real PostgreSQL server for a test session, and databases of a test's own."""

import uuid
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from sqlalchemy import MetaData
from sqlalchemy.schema import CreateSchema

from imex.db import Database
from imex.db.migrate import upgrade
from imex.db.tables.common import common_tables
from imex.testing.parts import PostgresPart, postgres_part

SCHEMA = "sample"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPart]:
    """A server, shared by the session."""
    with postgres_part(tmp_path_factory.mktemp("postgres")) as part:
        yield part


def new_database(postgres: PostgresPart, template: str = "template1") -> str:
    """The administrator's URL of a new database, made from `template`."""
    name = f"d{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
    return postgres.url.rsplit("/", 1)[0] + "/" + name


@pytest.fixture
def empty_database_url(postgres: PostgresPart) -> str:
    """The administrator's URL of a new database with nothing in it."""
    return new_database(postgres)


@pytest.fixture(scope="session")
def _migrated(postgres: PostgresPart) -> str:
    """The name of a database that every migration was applied to, once for all tests."""
    url = new_database(postgres)
    upgrade(url, {})
    return url.rsplit("/", 1)[1]


@pytest.fixture
def migrated_database_url(postgres: PostgresPart, _migrated: str) -> str:
    """The administrator's URL of a new database with every table and role, and no row."""
    return new_database(postgres, _migrated)


@pytest.fixture(scope="module")
def database_url_of_module(postgres: PostgresPart, _migrated: str) -> str:
    """The same, one for all tests of a module: making one takes longer than many of them."""
    return new_database(postgres, _migrated)


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[Database]:
    """A database whose schema `sample` has the common tables only."""
    made = Database(empty_database_url, SCHEMA)
    metadata = MetaData(schema=SCHEMA)
    common_tables(metadata)
    async with made.engine.begin() as connection:
        await connection.execute(CreateSchema(SCHEMA))
        await connection.run_sync(metadata.create_all)
    yield made
    await made.close()
