"""Migrations on a real server: they make the tables that the code describes, and roles that keep apart."""

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url

from imex.db.migrate import upgrade
from imex.db.schemas import OWNED, SCHEMAS, all_metadata

PASSWORDS = {service: f"{service}-%:'word" for service in OWNED}


@pytest.fixture
def migrated(empty_database_url: str) -> str:
    upgrade(empty_database_url, PASSWORDS)
    return empty_database_url


def as_service(url: str, service: str) -> psycopg.Connection[tuple[object, ...]]:
    made = make_url(url).set(username=f"imex_{service}", password=PASSWORDS[service])
    return psycopg.connect(made.render_as_string(hide_password=False), autocommit=True)


def test_migrations_make_exactly_the_tables_of_the_code(migrated: str) -> None:
    engine = create_engine(make_url(migrated).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name in SCHEMAS,
            },
        )
        # the comparison takes one metadata at a time, and then sees the other schemas' tables as surplus
        differences = []
        for metadata in all_metadata():
            found = compare_metadata(context, metadata)
            differences += [
                change
                for change in found
                if not (
                    isinstance(change, tuple)
                    and change[0].startswith("remove_")
                    and _schema_of(change) != metadata.schema
                )
            ]
    engine.dispose()
    assert not differences, 'write a revision: python -m imex.testing.revise "what changes"'


def _schema_of(change: tuple[object, ...]) -> str | None:
    thing = change[1]
    schema = getattr(thing, "schema", None)
    return schema if schema is not None else getattr(getattr(thing, "table", None), "schema", None)


def test_upgrading_again_changes_nothing_and_renews_a_password(migrated: str) -> None:
    upgrade(migrated, {"audit": PASSWORDS["audit"]})
    for service in OWNED:
        as_service(migrated, service).close()


@pytest.mark.parametrize("service", sorted(OWNED))
def test_a_service_writes_its_own_schema_and_no_other(migrated: str, service: str) -> None:
    with as_service(migrated, service) as connection:
        connection.execute(f"INSERT INTO {service}.inbox (event_id) VALUES (gen_random_uuid())".encode())
        for schema in set(SCHEMAS) - set(OWNED[service]) - {"directory"}:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    f"INSERT INTO {schema}.inbox (event_id) VALUES (gen_random_uuid())".encode()
                )


def test_the_portal_reads_what_the_others_write(migrated: str) -> None:
    with as_service(migrated, "portal") as connection:
        for schema in set(SCHEMAS) - {"directory"}:
            connection.execute(f"SELECT * FROM {schema}.outbox".encode())
    with as_service(migrated, "routing") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT * FROM validation.outbox")
