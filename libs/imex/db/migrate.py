"""Bringing a database up to date: schemas, tables, roles and what each role may do."""

from collections.abc import Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.engine import URL

from imex.db.engine import ROLE_PREFIX
from imex.db.schemas import OWNED, READER, SCHEMAS, metadata_of

_SET_PASSWORD = text(
    "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', cast(:role AS text), cast(:pw AS text))"
)
_MIGRATING = 0x696D6578
"""Advisory lock: two upgrades at once take turns."""


def upgrade(url: str | SecretStr, passwords: Mapping[str, str]) -> None:
    """Apply every migration, then make roles and grants what they should be. Safe to repeat.

    `url` is of a role that may create roles and schemas in the database it names. `passwords` holds one for
    each service with a database; a service that is left out keeps the role and password it has.

    Raises:
        sqlalchemy.exc.OperationalError: the database cannot be reached.
    """
    engine = create_engine(_driver_url(url), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATING})
            try:
                for schema in SCHEMAS:
                    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
                command.upgrade(config(url), "head")
                _ensure_roles(connection, passwords)
                _grant(connection)
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATING})
    finally:
        engine.dispose()


def config(url: str | SecretStr) -> Config:
    """Alembic's configuration for this tree of migrations."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # a percent sign in a password is no interpolation
    rendered = _driver_url(url).render_as_string(hide_password=False)
    made.set_main_option("sqlalchemy.url", rendered.replace("%", "%%"))
    return made


def _driver_url(url: str | SecretStr) -> URL:
    plain = url.get_secret_value() if isinstance(url, SecretStr) else url
    return make_url(plain).set(drivername="postgresql+psycopg")


def _ensure_roles(connection: Connection, passwords: Mapping[str, str]) -> None:
    existing = set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
    for service in OWNED:
        role = ROLE_PREFIX + service
        if role not in existing:
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        if service in passwords:
            # ALTER ROLE takes no parameters, so the server does the quoting
            statement = connection.scalar(
                text(
                    "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', cast(:role AS text), cast(:pw AS text))"
                ),
                {"role": role, "pw": passwords[service]},
            )
            connection.exec_driver_sql(str(statement).replace("%", "%%"))


def _grant(connection: Connection) -> None:
    for service, schemas in OWNED.items():
        for schema in schemas:
            _grant_owner(connection, ROLE_PREFIX + service, schema)
    reader = ROLE_PREFIX + READER
    for schema in SCHEMAS:
        if schema not in OWNED[READER]:
            connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {reader}"))
            connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}"))


def _grant_owner(connection: Connection, role: str, schema: str) -> None:
    connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {role}"))
    connection.execute(text(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"))
    connection.execute(
        text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}")
    )
    for table in metadata_of(schema).tables.values():
        if table.info.get("append_only"):
            connection.execute(text(f'REVOKE UPDATE, DELETE ON {schema}."{table.name}" FROM {role}'))
