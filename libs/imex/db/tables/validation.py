"""Schema `validation`: what was judged and what waits for a person.

Patient data stands in `studies` and `persons` (what demographics are compared with) and, sealed, in
`quarantine.event`; nowhere else.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from imex.db.tables.columns import identifier, moment, sop_instance_uid, source, study_uid
from imex.db.tables.common import common_tables, subject_findings_table

SCHEMA = "validation"
metadata = MetaData(schema=SCHEMA)
common = common_tables(metadata)

judgements = Table(
    "judgements",
    metadata,
    identifier("event_id"),  # of instance.received, which is the uuid7 of the object's key
    source(),
    study_uid(),
    sop_instance_uid(),
    Column("digest", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("association", Uuid, nullable=False),
    # accepted | quarantined | refused | duplicated | released | discarded
    Column("judgement", Text, nullable=False),
    moment("received_at"),
    moment("judged_at", now=True),
    Index("ix_judgements_instance", "source", "sop_instance_uid"),
    moment("disposed_at", nullable=True),  # the payload is given up
    Index("ix_judgements_study", "source", "study_uid", "association"),
)
"""One row for each instance.received: a repeat of the same bytes is a row of its own."""

disposals = Table(
    "disposals",
    metadata,
    Column("object_key", Text, primary_key=True),
    moment("at", now=True),
)
"""Objects that are still to be deleted from the store."""

swept = Table(
    "swept",
    metadata,
    Column("institution", Text, primary_key=True),
    moment("through", nullable=True),  # the date up to which its orphans were looked for
)
"""How far the object store was looked through for objects that no judgement knows."""

instances = Table(
    "instances",
    metadata,
    Column("source", Text, primary_key=True),
    sop_instance_uid(primary_key=True),
    study_uid(),
    Column("digest", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("object_key", Text, nullable=False),
)
"""The accepted bytes of each instance: what later ones are duplicates of or in conflict with."""

studies = Table(
    "studies",
    metadata,
    Column("source", Text, primary_key=True),
    Column("study_uid", Text, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("patient_name", Text, nullable=False),
    Column("birth_date", Text, nullable=False),
    Column("sex", Text, nullable=False),
    Column("temporary", Boolean, nullable=False, server_default="false"),  # of somebody not known yet
    Index("ix_studies_temporary", "source", "patient_id", postgresql_where=text("temporary")),
)
"""The demographics of a study's first accepted instance; the others must agree."""

traced = Table(
    "traced",
    metadata,
    Column("nhs_number", Text, primary_key=True),  # patient data
    Column("status", Text, nullable=False),  # traced | not-traced | superseded
    Column("superseded_by", Text),
    Column("set_by", Text, nullable=False),
    moment("at"),
)
"""What tracing has found of NHS numbers: a tracing service's answers, or what people enter, stand here."""

links = Table(
    "links",
    metadata,
    identifier(),
    source(),
    study_uid(),  # the study whose temporary identity it is
    Column("temporary_issuer", Text, nullable=False),
    Column("temporary_id", Text, nullable=False),  # patient data, as is what follows
    Column("issuer", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("linked_by", Text, nullable=False),
    moment("at"),
    Index("ix_links_study", "source", "study_uid"),
)
"""Whom temporary identities were found to be."""

persons = Table(
    "persons",
    metadata,
    Column("issuer", Text, primary_key=True),  # `NHS`, another issuer, or the source where there is none
    Column("patient_id", Text, primary_key=True),
    Column("patient_name", Text, nullable=False),
    Column("birth_date", Text, nullable=False),
    Column("sex", Text, nullable=False),
)
"""Who is known under an identifier."""

quarantine = Table(
    "quarantine",
    metadata,
    identifier(),
    source(),
    study_uid(),
    sop_instance_uid(),
    Column("reason", Text, nullable=False),
    Column("evidence", JSONB, nullable=False),  # findings: check, message; no patient data
    # waiting | released | discarded | refused
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("releasable", Boolean, nullable=False),  # False: it can only be discarded
    Column("releaser", Text, nullable=False, server_default="source"),  # source | admin | nobody
    Column("disputes", Uuid),  # instance.received of the accepted copy that does not leave meanwhile
    Column("checks", JSONB, nullable=False, server_default="[]"),  # names of those that hold it
    Column("digest", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),  # of the instance.received
    Column("event", LargeBinary, nullable=False),  # the instance.received, to continue from
    Column("object_key", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    moment("created_at", now=True, index=True),
    moment("decided_at", nullable=True),
    Column("decided_by", Text),
    Column("decision_reason", Text),
    Index("ix_quarantine_waiting", "created_at", postgresql_where=text("state = 'waiting'")),
    Index("ix_quarantine_study", "source", "study_uid"),
    Index("ix_quarantine_instance", "source", "sop_instance_uid"),
)

unjudged = Table(
    "unjudged",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    source(),
    study_uid(),
    Column("event_id", Uuid),  # of the instance.received; None where it cannot be read
    Column("sop_instance_uid", Text),  # None where it cannot be read: it may be any of the source
    moment("at", now=True),
)
"""Dead letters: what came in and nobody has judged. It is over with the judgement of `event_id`."""

subject_findings = subject_findings_table(metadata)
"""What was found, erased, rectified and kept of persons, for whoever asked."""
