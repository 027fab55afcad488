"""`imex setup`: creates what the services expect to find. The local stack, compose and the chart run it.

Everything is created when it is missing and corrected when it differs, so that it can run before every start.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Mapping
from uuid import uuid4

import typer
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from imex.settings import DatabaseSettings, KafkaSettings, S3Settings

app = typer.Typer(pretty_exceptions_enable=False)


class S3User(BaseModel):
    """A service's credentials for the object store."""

    model_config = ConfigDict(frozen=True)

    access_key: str
    secret_key: str


class SetupSettings(BaseSettings):
    """What to create for whom. The administrators' own credentials are in the groups for each part."""

    model_config = SettingsConfigDict(env_prefix="IMEX_SETUP_", frozen=True, hide_input_in_errors=True)

    db_passwords: Mapping[str, SecretStr] = Field(description="JSON: service to its role's password")
    s3_users: Mapping[str, S3User] = Field(
        default={},
        description="JSON: service to access_key and secret_key; empty where the store has no users",
    )
    admin_token: SecretStr = Field(default=SecretStr(""), description="a bearer token for the administrator")
    admin_password: SecretStr = Field(default=SecretStr(""), description="of the portal's account admin")
    replication: int = Field(default=1, ge=1, le=10, description="replicas of a topic that is made")


def setup(settings: SetupSettings, database: DatabaseSettings, s3: S3Settings, kafka: KafkaSettings) -> None:
    """Database and roles, the first administrator, buckets and users, topics and access rules; in this order.

    Raises what the part that refuses raises: SQLAlchemy's, MinIO's and Kafka's own errors.
    """
    from imex.db.migrate import upgrade
    from imex.events import TOPICS
    from imex.runtime.admin import ensure_acls, ensure_topics
    from imex.storage.provision import ensure_buckets, ensure_users

    _ensure_database(database.url.get_secret_value())
    passwords = {name: word.get_secret_value() for name, word in settings.db_passwords.items()}
    upgrade(database.url, passwords)
    _ensure_administrator(database.url.get_secret_value(), settings)
    ensure_buckets(s3)
    ensure_users(s3, settings.s3_users)

    async def on_kafka() -> None:
        await ensure_topics(kafka, TOPICS, settings.replication)
        await ensure_acls(kafka, TOPICS)

    asyncio.run(on_kafka())


def _ensure_database(url: str) -> None:
    import psycopg
    from psycopg import sql
    from sqlalchemy import make_url

    wanted = make_url(url)
    maintenance = wanted.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(maintenance, autocommit=True, connect_timeout=10) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (wanted.database,))
        if found.fetchone() is None:
            connection.execute(
                sql.SQL("CREATE DATABASE {}").format(sql.Identifier(wanted.database or "imex"))
            )


def _ensure_administrator(url: str, settings: SetupSettings) -> None:
    """A token and an account to begin with. A password that was changed since stays changed."""
    import psycopg
    from pwdlib import PasswordHash

    token, password = settings.admin_token.get_secret_value(), settings.admin_password.get_secret_value()
    with psycopg.connect(url, connect_timeout=10) as connection:
        if token:
            connection.execute(
                "INSERT INTO portal.tokens (id, hash, institution, role, label)"
                " VALUES (%s, %s, NULL, 'admin', 'set-up') ON CONFLICT (hash) DO NOTHING",
                (uuid4(), hashlib.sha256(token.encode()).digest()),
            )
        if password:
            connection.execute(
                "INSERT INTO portal.accounts (id, username, display_name, password_hash, institution, role)"
                " VALUES (%s, 'admin', 'Administrator', %s, NULL, 'admin') ON CONFLICT (username) DO NOTHING",
                (uuid4(), PasswordHash.recommended().hash(password)),
            )


@app.command("setup")
def command() -> None:
    """Create the database, roles, buckets, topics and access rules that the services expect."""
    try:
        settings, database, s3, kafka = SetupSettings(), DatabaseSettings(), S3Settings(), KafkaSettings()
    except ValidationError as problem:
        print(f"imex setup: {problem}", file=sys.stderr)
        raise typer.Exit(2) from None
    setup(settings, database, s3, kafka)


if __name__ == "__main__":
    app()
