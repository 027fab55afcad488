"""Schema `portal`: who may sign in or call the API."""

from imex.db.tables.common import common_tables
from sqlalchemy import Boolean, Column, LargeBinary, MetaData, Table, Text, Uuid

from imex.db.tables.columns import identifier, moment

SCHEMA = "portal"
metadata = MetaData(schema=SCHEMA)
common = common_tables(metadata)

accounts = Table(
    "accounts",
    metadata,
    identifier(),
    Column("username", Text, nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),  # argon2id
    Column("institution", Text),  # None: the network's own administration
    Column("role", Text, nullable=False),  # admin | sender | viewer
    Column("active", Boolean, nullable=False, server_default="true"),
    moment("created_at", now=True),
)

tokens = Table(
    "tokens",
    metadata,
    identifier(),
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256; tokens have 256 random bits
    Column("institution", Text),
    Column("role", Text, nullable=False),  # admin | institution
    Column("label", Text, nullable=False),
    moment("created_at", now=True),
    moment("revoked_at", nullable=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", LargeBinary, primary_key=True),  # SHA-256 of the cookie's value
    Column("account", Uuid, nullable=False),
    moment("created_at", now=True),
    moment("expires_at"),
)
