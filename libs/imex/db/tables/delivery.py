"""Schema `delivery`: durable jobs, their instances, attempts, receipts, and what was changed on the way.

Patient data is in `identifiers` (in the clear: what is unique has to be comparable) and, sealed, in
`pseudonyms` and `releases`; nowhere else.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from imex.db.tables.columns import identifier, moment, sop_instance_uid, source, study_uid
from imex.db.tables.common import common_tables, subject_findings_table

SCHEMA = "delivery"
metadata = MetaData(schema=SCHEMA)
common = common_tables(metadata)

_MAY_GO = text("state = 'waiting' AND paused IS NULL")

destinations = Table(
    "destinations",
    metadata,
    Column("recipient", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    # a person's pause
    Column("paused", Uuid),  # the command that paused it; None: it is not
    moment("paused_at", nullable=True),
    Column("paused_by", Text, nullable=False, server_default=""),
    Column("paused_institution", Text),
    Column("paused_reason", Text, nullable=False, server_default=""),
    # the circuit breaker's
    Column("failed_by", ARRAY(Uuid), nullable=False, server_default="{}"),  # since something got through
    Column("failures", Integer, nullable=False, server_default="0"),  # attempts in a row
    moment("failing_since", nullable=True),
    moment("failed_at", nullable=True),
    Column("failed_reason", Text, nullable=False, server_default=""),
    Column("failed_place", Text, nullable=False, server_default=""),  # another address is asked at once
    moment("probe_at", nullable=True),  # None: any delivery may go; else one at a time, not before this
)
"""What holds for all deliveries to one destination; locked while they are counted and claimed."""

queues = Table(
    "queues",
    metadata,
    Column("recipient", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    moment("served_at", nullable=True),
)
"""Who sends to a destination, and when a delivery of theirs was begun last: they are served in turn."""

deliveries = Table(
    "deliveries",
    metadata,
    identifier(),
    Column("share", Uuid, nullable=False, index=True),
    source(),
    study_uid(),
    Column("recipient", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("directory_version", Text, nullable=False),
    Column("agreement", Text),  # that allowed the share; None from before it was told
    Column("deidentify", JSONB),  # what the agreement asked for when something was first sent
    Column("state", Text, nullable=False),  # waiting | running | idle | ended
    Column("outcome", Text),  # delivered | partial | failed | expired | cancelled
    Column("attempts", Integer, nullable=False, server_default="0"),
    moment("started_at", nullable=True),  # of the attempt that runs or ran last
    Column("failures", Integer, nullable=False, server_default="0"),  # attempts in a row without progress
    moment("failing_since", nullable=True),
    Column("ae_title", Text, nullable=False, server_default=""),  # where the last attempt went
    moment("next_attempt_at", nullable=True),
    moment("lease_until", nullable=True),
    Column("leased_by", Text),
    Column("associations", Integer, nullable=False, server_default="0"),  # that it may hold while it runs
    Column("parts", Integer),  # how many the closed manifest has; None while open
    Column("expected", Integer),
    Column("revision", Integer, nullable=False, server_default="0"),  # of the closed manifest
    Column("receipt_revision", Integer, nullable=False, server_default="0"),  # of the newest receipt
    Column("receipt_due", Boolean, nullable=False, server_default="false"),
    Column("reason", Text, nullable=False, server_default=""),
    Column("lost", Text, nullable=False, server_default=""),  # why a part of the manifest never came
    Column("withdrawn", Boolean, nullable=False, server_default="false"),  # by routing, for good
    Column("cancelled", Boolean, nullable=False, server_default="false"),  # by a person, until a retry
    Column("paused", Uuid),  # the command that paused it; None: it is not
    Column("paused_by", Text, nullable=False, server_default=""),
    Column("paused_institution", Text),
    Column("paused_reason", Text, nullable=False, server_default=""),
    Column("reroute_to", Text),  # another endpoint, once the attempt that runs has stopped
    Column("only_to_settle", Boolean, nullable=False, server_default="false"),  # nothing of it is to be sent
    moment("created_at", now=True),
    moment("expires_at"),
    Index(
        "ix_deliveries_due", "recipient", "endpoint", "priority", "next_attempt_at", postgresql_where=_MAY_GO
    ),
    Index(
        "ix_deliveries_turns",
        "recipient",
        "endpoint",
        "priority",
        "source",
        "created_at",
        postgresql_where=_MAY_GO,
        postgresql_include=["next_attempt_at"],
    ),
    Index(
        "ix_deliveries_failing",
        "recipient",
        "endpoint",
        "started_at",
        postgresql_where=text("state = 'waiting' AND failures > 0"),
    ),
    Index("ix_deliveries_running", "recipient", "endpoint", postgresql_where=text("state = 'running'")),
    Index(
        "ix_deliveries_settling",
        "next_attempt_at",
        postgresql_where=text("state = 'waiting' AND only_to_settle"),
    ),
    Index("ix_deliveries_expiry", "expires_at", postgresql_where=text("state = 'waiting'")),
    Index("ix_deliveries_created", "created_at", "id"),
    Index("ix_deliveries_open", "recipient", "priority", "state", postgresql_where=text("state <> 'ended'")),
    Index("ix_deliveries_lease", "lease_until", postgresql_where=text("state = 'running'")),
)

instances = Table(
    "instances",
    metadata,
    Column("delivery", Uuid, primary_key=True),
    sop_instance_uid(primary_key=True),
    Column("part", Integer, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Column("transfer_syntax", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    # waiting | sent (handed over, not confirmed yet) | confirmed | failed | disputed
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("status", Text),
    Column("reason", Text, nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False, server_default="0"),  # times sent and still waiting
    moment("at", nullable=True),
    Column("delivered_digest", Text),  # of what was sent, where that is not what is stored
    Column("changes", JSONB),  # what was changed on the way out: a list of words
    Column("confirmation", Text),  # what said that it is there: answer | query | commitment
    Column("lacked", Integer, nullable=False, server_default="0"),  # times taken, and not there when asked
    Column("sent_study_uid", Text),  # under which it is asked for, where these are not its own
    Column("sent_uid", Text),
    Column("sent_to", JSONB),  # endpoint and AE title, where the delivery was rerouted since
    Index("ix_instances_waiting", "delivery", "state"),
    # who else was handed something under a UID: asked before a sender is told that it is committed
    Index("ix_instances_uid", "sop_instance_uid"),
    Index("ix_instances_sent_uid", "sent_uid", postgresql_where=text("sent_uid IS NOT NULL")),
)

controls = Table(
    "controls",
    metadata,
    identifier(),  # of the command
    Column("delivery", Uuid, index=True),  # None: of the whole destination
    Column("recipient", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("command", Text, nullable=False),  # retry | cancel | pause | resume | reroute
    Column("actor", Text, nullable=False),
    Column("institution", Text),
    Column("reason", Text, nullable=False, server_default=""),
    Column("details", JSONB, nullable=False, server_default="{}"),
    moment("at", now=True),
    Index("ix_controls_destination", "recipient", "endpoint", "at"),
)
"""What people have asked of deliveries and destinations, and was done."""

commitments = Table(
    "commitments",
    metadata,
    Column("transaction_uid", Text, primary_key=True),
    Column("delivery", Uuid, nullable=False, index=True),
    Column("recipient", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("uids", JSONB, nullable=False),  # SOP Instance UIDs that were asked for
    Column("digests", JSONB),  # of the copies that were handed over, in step; None from before it was kept
    moment("asked_at", now=True),
    moment("until"),  # when it is given up to wait
    moment("answered_at", nullable=True),
    Column("committed", JSONB),  # of `uids`, once answered
    Column("refused", JSONB),  # of `uids`, with the failure reasons
)
"""Storage commitments that destinations were asked for, until what they answered is written down."""

kept = Table(
    "kept",
    metadata,
    Column("recipient", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("holder", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    moment("until"),
)
"""Associations that a process keeps open for the next delivery: they count where the destination counts."""

refusals = Table(
    "refusals",
    metadata,
    Column("recipient", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("address", Text, primary_key=True),  # what refused: an endpoint that moves is asked anew
    Column("sop_class_uid", Text, primary_key=True),  # empty: the association itself
    Column("transfer_syntax", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    moment("until"),
)
"""What a destination has said no to, until it is asked again."""

parts = Table(
    "parts",
    metadata,
    Column("delivery", Uuid, primary_key=True),
    Column("part", Integer, primary_key=True),
)
"""Which parts of a manifest have come."""

withheld = Table(
    "withheld",
    metadata,
    Column("delivery", Uuid, primary_key=True),
    Column("quarantine", Uuid, primary_key=True),
    sop_instance_uid(),
    Column("status", Text, nullable=False),  # held | discarded
    Column("reason", Text, nullable=False),
    moment("at"),
    Column("disputes", Boolean, nullable=False, server_default="false"),  # the copy that was accepted
)
"""What the manifest lacks, because it is in quarantine or was discarded there."""

attempts = Table(
    "attempts",
    metadata,
    identifier(),
    Column("delivery", Uuid, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    moment("started_at"),
    moment("ended_at"),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("confirmed", Integer, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    Column("delivery", Uuid, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("share", Uuid, nullable=False, index=True),
    Column("document", JSONB, nullable=False),  # without its signature
    Column("signature", Text, nullable=False),
    Column("digest", Text, nullable=False),
    moment("at", now=True),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),  # RFC 7638 thumbprint
    Column("jwk", JSONB, nullable=False),  # public
    moment("at", now=True),
)
"""Public keys that receipts are or were signed with: they stay published."""

projects = Table(
    "projects",
    metadata,
    Column("project", Text, primary_key=True),
    Column("key_id", Text, nullable=False),  # the sealing key that the project's own is derived from
    moment("at", now=True),
)
"""Projects within which things are de-identified consistently: a project keeps to the key it began with."""

given_uids = Table(
    "given_uids",
    metadata,
    Column("project", Text, primary_key=True),
    Column("original", Text, primary_key=True),
    Column("given", Text, nullable=False),
    UniqueConstraint("project", "given", name="uq_given_uids"),
)
"""UIDs that stand for others: no two for one."""

pseudonyms = Table(
    "pseudonyms",
    metadata,
    Column("project", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("pseudonym", Text, primary_key=True),
    Column("sealed", JSONB, nullable=False),  # patient data: who it stands for, as that source names them
    moment("at", now=True),
)

releases = Table(
    "releases",
    metadata,
    Column("project", Text, primary_key=True),
    Column("recipient", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("study_uid", Text, primary_key=True),
    Column("given_study_uid", Text, nullable=False),
    Column("pseudonym", Text, nullable=False),
    Column("sealed", JSONB, nullable=False),  # patient data: accession number, date and such of the study
    moment("at", now=True),
    Index("ix_releases_returned", "recipient", "given_study_uid"),
)
"""Studies that left de-identified: by these is recognised what a recipient returns."""

identifiers = Table(
    "identifiers",
    metadata,
    identifier(),
    Column("recipient", Text, nullable=False),
    Column("kind", Text, nullable=False),  # patient | accession
    Column("source", Text, nullable=False),
    Column("issuer", Text, nullable=False, server_default=""),  # empty: the source's own
    # patient data from here
    Column("value", Text, nullable=False),
    Column("own", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("birth_date", Text, nullable=False, server_default=""),
    # to here
    Column("actor", Text, nullable=False),
    moment("at", now=True),
    UniqueConstraint("recipient", "kind", "source", "issuer", "value", name="uq_identifiers_value"),
    UniqueConstraint("recipient", "kind", "source", "own", name="uq_identifiers_own"),
)
"""A recipient's own identifiers for a sender's: of one sender, one for one in both directions."""

inbox_shares = Table(
    "inbox_shares",
    metadata,
    Column("share", Uuid, primary_key=True),
    Column("delivery", Uuid, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    moment("at"),  # of its first instance
    Index("ix_inbox_shares_recipient", "recipient", "at", "share"),
)
"""Shares of which something lies in an inbox. Whether it may still be read, the share's state says."""

inbox_instances = Table(
    "inbox_instances",
    metadata,
    Column("share", Uuid, primary_key=True),
    sop_instance_uid(primary_key=True),  # as it was received
    Column("digest", Text, nullable=False),  # of what was received
    Column("given_sop_instance_uid", Text, nullable=False),  # under which it lies there
    Column("sop_class_uid", Text, nullable=False),
    Column("transfer_syntax", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("own", Boolean, nullable=False),  # the object was written for this share: what leaves was changed
    Column("size", BigInteger, nullable=False),  # of the data set that lies there
    Column("given_digest", Text, nullable=False),  # of the same
    moment("at"),
    Index("ix_inbox_instances_given", "share", "given_sop_instance_uid", unique=True),
    Index("ix_inbox_instances_own", "share", postgresql_where=text("own")),
    Index("ix_inbox_instances_object", "object_key", postgresql_where=text("own")),
)
"""What lies in inboxes: where its bytes are, which are the payload's own where nothing was changed."""

inbox_sweep = Table(
    "inbox_sweep",
    metadata,
    Column("id", Integer, primary_key=True),  # there is one
    Column("after", Text, nullable=False, server_default=""),  # the last key that was looked at
    moment("began_at", nullable=True),  # with the first one
)
"""How far the look for objects of inboxes that no row tells of has come."""

endpoint_tests = Table(
    "endpoint_tests",
    metadata,
    identifier(),  # of the test, as it was asked for
    Column("recipient", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("send", Boolean, nullable=False),  # whether a study of nobody is sent
    Column("actor", Text, nullable=False),
    Column("actor_institution", Text),
    Column("state", Text, nullable=False),  # waiting | running | done
    Column("outcome", Text),  # passed | failed | refused | broken off
    Column("reason", Text, nullable=False, server_default=""),
    Column("steps", JSONB, nullable=False, server_default="[]"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("leased_by", Text),
    moment("lease_until", nullable=True),
    moment("requested_at", now=True),
    moment("finished_at", nullable=True),
    Index("ix_endpoint_tests_endpoint", "recipient", "endpoint", "requested_at"),
    Index(
        "uq_endpoint_tests_open",
        "recipient",
        "endpoint",
        unique=True,
        postgresql_where=text("state <> 'done'"),
    ),
)
"""Tests of endpoints, one at a time for each; the newest few are kept."""

retrievals = Table(
    "retrievals",
    metadata,
    identifier(),  # of the request
    Column("order_number", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("endpoints", JSONB, nullable=False),  # names, in the order in which they are asked
    Column("asked", JSONB, nullable=False, server_default="{}"),  # of these: answered | refused
    Column("wanted", JSONB),  # sealed: of whom, or which study; None once it has ended
    Column("modality", Text),
    Column("studied_from", Text),
    Column("studied_until", Text),
    Column("modalities", JSONB),  # the only ones to fetch; None: any
    Column("most", Integer, nullable=False),
    Column("held", JSONB, nullable=False),  # study to the number of its instances that are here
    Column("priority", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting | running | ended
    Column("outcome", Text),  # complete | partial | failed | nothing found
    Column("said", JSONB, nullable=False, server_default="[]"),  # in words, what archives could not
    Column("failures", Integer, nullable=False, server_default="0"),  # in a row, without progress
    Column("told", Integer, nullable=False, server_default="0"),  # how often something was said of it
    moment("failing_since", nullable=True),
    moment("next_attempt_at", nullable=True),
    Column("leased_by", Text),
    moment("lease_until", nullable=True),
    moment("ordered_at", now=True),
    moment("expires_at"),
    Index("ix_retrievals_due", "next_attempt_at", postgresql_where=text("state <> 'ended'")),
)
"""What is fetched from holders' archives to answer requests: one durable job for each request."""

retrieval_studies = Table(
    "retrieval_studies",
    metadata,
    Column("request", Uuid, primary_key=True),
    Column("study_uid", Text, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("studied", Text, nullable=False, server_default=""),  # YYYYMMDD: the newest come first
    Column("state", Text, nullable=False),  # waiting | fetched | held | failed
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("instances", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
)
"""What archives have of what was asked for, and what became of it."""

subject_findings = subject_findings_table(metadata)
"""What was found, erased, rectified and kept of persons, for whoever asked."""
