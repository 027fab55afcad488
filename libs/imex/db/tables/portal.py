"""Schema `portal`: who may sign in or call the API, and what senders ask of it."""

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from imex.db.tables.columns import identifier, moment
from imex.db.tables.common import common_tables

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

idempotency = Table(
    "idempotency",
    metadata,
    Column("caller", Text, primary_key=True),  # institution and token or account: keys are the caller's own
    Column("key", Text, primary_key=True),  # the Idempotency-Key header
    Column("request", LargeBinary, nullable=False),  # SHA-256 of what was asked
    Column("command", Uuid, nullable=False),
    moment("created_at", now=True),
)
"""Requests that a client may repeat: a key stands for one request and the command made of it."""

acknowledgements = Table(
    "acknowledgements",
    metadata,
    Column("notice", Uuid, primary_key=True),
    Column("institution", Text, primary_key=True),  # empty: the network's own administration
    moment("at"),
    Column("by", Text, nullable=False),  # the account or token
    Column("remark", Text, nullable=False, server_default=""),
)
"""Notices of routing that somebody of an institution has seen to."""

subjects = Table(
    "subjects",
    metadata,
    identifier(),  # of the command
    Column("command", Text, nullable=False),  # report | erase | rectify
    Column("report", Uuid),  # that it rests on
    Column("person", JSONB),  # sealed: issuer and patient_id; None once the person is erased
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    moment("at", now=True),
)
"""What was asked in the name of a person: reports, erasures, rectifications."""

commitments = Table(
    "commitments",
    metadata,
    identifier(),  # of institution and transaction
    Column("institution", Text, nullable=False),  # who sent what it asks about
    Column("transaction_uid", Text, nullable=False),
    Column("ae_title", Text, nullable=False),  # of the sender that asked, which is reported to
    Column("called_ae", Text, nullable=False),  # as which Imex was asked, and reports
    Column("instances", JSONB, nullable=False),  # pairs of SOP Class UID and SOP Instance UID
    # open | decided: it is to be reported | reported | unreported: given up
    Column("state", Text, nullable=False, server_default="open"),
    moment("asked_at"),
    moment("due_at"),  # what is not committed by then is no
    Column("refused", JSONB),  # once decided: position in `instances`, failure reason, words
    moment("decided_at", nullable=True),
    moment("reported_at", nullable=True),
    Column("attempts", Integer, nullable=False, server_default="0"),  # to report
    Column("reason", Text, nullable=False, server_default=""),  # why it waits, or was given up
    moment("next_at", nullable=True),  # when to look next
    Column("leased_by", Text),
    moment("lease_until", nullable=True),
    UniqueConstraint("institution", "transaction_uid", name="uq_commitments_transaction"),
    Index("ix_commitments_asked", "institution", "asked_at", "id"),
    Index("ix_commitments_next", "next_at", postgresql_where=text("next_at IS NOT NULL")),
)
"""Storage commitments that senders ask of Imex, and what they were told."""
