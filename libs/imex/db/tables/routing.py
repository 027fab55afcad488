"""Schema `routing`: studies as they come in, and the shares made of them.

Patient data stands in the columns of `studies` that are marked so, and in `personal` of `decisions` and
`corrections`; nowhere else.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from imex.db.tables.columns import identifier, moment, sop_instance_uid, source, study_uid
from imex.db.tables.common import common_tables, subject_findings_table

SCHEMA = "routing"
metadata = MetaData(schema=SCHEMA)
common = common_tables(metadata)

studies = Table(
    "studies",
    metadata,
    Column("source", Text, primary_key=True),
    Column("study_uid", Text, primary_key=True),
    Column("lane", Text, nullable=False),
    Column("modalities", ARRAY(Text), nullable=False, server_default="{}"),
    Column("sop_classes", ARRAY(Text), nullable=False, server_default="{}"),
    Column("body_parts", ARRAY(Text), nullable=False, server_default="{}"),
    Column("recipients", ARRAY(Text), nullable=False, server_default="{}"),  # explicit ones: called AE titles
    Column("standing", Boolean, nullable=False, server_default="false"),  # also sent to the standing rules
    Column("called_ae", Text, nullable=False, server_default=""),
    # patient data from here
    Column("patient_id", Text, nullable=False, server_default=""),
    Column("issuer", Text, nullable=False, server_default=""),
    Column("patient_name", Text, nullable=False, server_default=""),
    Column("birth_date", Text, nullable=False, server_default=""),
    Column("accession", Text, nullable=False, server_default="", index=True),
    Column("study_date", Text, nullable=False, server_default=""),
    Column("study_description", Text, nullable=False, server_default=""),
    Column("series_descriptions", ARRAY(Text), nullable=False, server_default="{}"),
    # to here
    Column("received", Integer, nullable=False, server_default="0"),  # instances, also held and lost ones
    Column("validated", Integer, nullable=False, server_default="0"),  # accepted ones
    Column("waiting", Integer, nullable=False, server_default="0"),  # in quarantine
    Column("discarded", Integer, nullable=False, server_default="0"),
    Column("lost", Integer, nullable=False, server_default="0"),  # acknowledged, but never heard of here
    Column("bytes", BigInteger, nullable=False, server_default="0"),  # of the accepted ones
    Column("passage", Integer, nullable=False, server_default="1"),  # how often it was sent
    Column("evaluated_version", Text, nullable=False, server_default=""),  # directory of the last evaluation
    moment("first_received_at"),
    moment("first_validated_at", nullable=True),
    moment("last_activity_at"),  # newest received_at seen
    moment("seen_at"),  # newest record time seen on its topic: the clock of completeness
    Column("topic", Text, nullable=False),  # where it is read from, for the read-past check
    Column("partition", Integer, nullable=False),
    moment("due_at", nullable=True, index=True),  # None: nothing open is waiting for completeness
    moment("closed_at", nullable=True),
    moment("expires_at", nullable=True),  # of a study that nothing addresses
    moment("expired_at", nullable=True),
    moment("settled_at", nullable=True),  # all its shares have ended
    moment("root_exported_at", nullable=True),
    Column("stuck", Text),  # why a record of it became a dead letter
    Column("disputed", Integer, nullable=False, server_default="0"),  # accepted instances in conflict
    Column("stated_instances", Integer),  # how many there are, as the sender says (0020,1208)
    Column("recalled", Integer, nullable=False, server_default="0"),  # of the disputed: taken back for good
    Column("referenced", ARRAY(Text), nullable=False, server_default="{}"),  # studies its results refer to
    moment("retention_at", nullable=True),  # when to look next whether its payloads are still needed
    moment("retiring_at", nullable=True),  # when validation was told that they are not
    moment("disposed_at", nullable=True),  # since when they are gone
    moment("hold_lifted_at", nullable=True),  # a person said that nothing holds it any more
    Index(
        "ix_studies_retention",
        "retention_at",
        postgresql_where=text(
            "retiring_at IS NULL AND disposed_at IS NULL"
            " AND (settled_at IS NOT NULL OR expired_at IS NOT NULL)"
        ),
    ),
    Index("ix_studies_retiring", "retiring_at", postgresql_where=text("retiring_at IS NOT NULL")),
    Index("ix_studies_uid", "study_uid"),
    # identifiers are found however they are written
    Index("ix_studies_patient", text("regexp_replace(patient_id, '[ -]', '', 'g')")),
    Index(
        "ix_studies_root",
        "settled_at",
        postgresql_where=text("settled_at IS NOT NULL AND root_exported_at IS NULL"),
    ),
    Index(
        "ix_studies_expiry",
        "expires_at",
        postgresql_where=text("expires_at IS NOT NULL AND expired_at IS NULL"),
    ),
)

associations = Table(
    "associations",
    metadata,
    Column("source", Text, primary_key=True),
    Column("study_uid", Text, primary_key=True),
    Column("association", Uuid, primary_key=True),
    moment("seen_at", now=True),
    moment("ended_at", nullable=True),
    Column("heard", Integer, nullable=False, server_default="0"),  # instances that routing was told of
    Column("received", Integer, nullable=False, server_default="0"),  # that ingest acknowledged, once ended
)
"""Which associations a study came in, whether they have ended, and whether all of them has arrived here."""

instances = Table(
    "instances",
    metadata,
    Column("source", Text, primary_key=True),
    sop_instance_uid(primary_key=True),
    study_uid(),
    Column("series_uid", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Column("transfer_syntax", Text, nullable=False),
    Column("modality", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("directory_version", Text, nullable=False),
    moment("received_at"),
    moment("validated_at", now=True),
    Column("disputed", Boolean, nullable=False, server_default="false"),  # not to leave until decided
    Column("recalled", Boolean, nullable=False, server_default="false"),  # in dispute for good: taken back
    Index("ix_instances_study", "source", "study_uid"),
)
"""Accepted instances."""

held = Table(
    "held",
    metadata,
    identifier("quarantine"),
    source(),
    study_uid(),
    sop_instance_uid(),
    Column("reason", Text, nullable=False),
    Column("modality", Text, nullable=False, server_default=""),
    Column("sop_class_uid", Text, nullable=False, server_default=""),
    Column("body_part", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False),  # waiting | released | discarded
    moment("received_at"),
    moment("decided_at", nullable=True),
    Column("disputes", Boolean, nullable=False, server_default="false"),  # the copy that was accepted
    Index("ix_held_study", "source", "study_uid"),
)
"""Instances in quarantine, as validation announced them."""

repeats = Table(
    "repeats",
    metadata,
    identifier("event_id"),
    source(),
    study_uid(),
    sop_instance_uid(),
    moment("received_at"),
    Index("ix_repeats_study", "source", "study_uid"),
)
"""The same bytes again: no effect, but visible in the timeline."""

shares = Table(
    "shares",
    metadata,
    identifier(),
    source(),
    study_uid(),
    Column("recipient", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("episode", Integer, nullable=False),
    Column("passage", Integer, nullable=False, server_default="1"),  # of the study, when it was made
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("priority", Text, nullable=False),
    Column("origin", Text, nullable=False),  # rule | called | command | prior | return
    Column("rule", Text),
    Column("agreement", Text),
    Column("legal_basis", Text),
    Column("deidentified", Boolean, nullable=False, server_default="false"),  # as the agreement asks
    Column("directory_version", Text, nullable=False),
    Column("endpoint", Text),
    Column("reference", Text),
    Column("quiet_s", Integer),
    Column("command_id", Uuid, index=True),  # the command that made it
    Column("sequence", Integer, nullable=False, server_default="0"),  # of its partner events
    Column("complete", Boolean, nullable=False, server_default="false"),  # collecting has ended
    Column("delivery_revision", Integer, nullable=False, server_default="0"),  # manifests closed so far
    Column("parts", Integer, nullable=False, server_default="0"),
    Column("handed", Integer, nullable=False, server_default="0"),  # instances handed to delivery
    Column("confirmed", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("receipt_digest", Text),
    Column("receipt_revision", Integer),
    moment("created_at", now=True, index=True),
    moment("updated_at", now=True, index=True),
    moment("completed_at", nullable=True),
    moment("first_image_at", nullable=True),
    moment("last_image_at", nullable=True),  # the newest confirmation
    moment("delivered_at", nullable=True),
    moment("expires_at", nullable=True),
    Column("escalate_after_s", Integer),  # the rule's objective, since the first instance
    Column("escalate_to", Text),  # what the rule raises its priority to then
    Column("escalated_to", Text),  # the priority it has been raised to; its lane stays that of `priority`
    moment("escalated_at", nullable=True),
    Column("clinician", Text),  # at the recipient, whom it is for
    Column("controllers", ARRAY(Text), nullable=False, server_default="{}"),
    Column("processors", ARRAY(Text), nullable=False, server_default="{}"),
    Column("alternate_of", Text),  # the recipient in whose place it goes
    Column("by_expected", Boolean, nullable=False, server_default="false"),  # a stated count ends the wait
    Column("required_series", Text),  # CEL
    Column("at_most_s", Integer),
    moment("completion_asked_at", nullable=True),  # a person said that it is complete
    Column("priors_due", Boolean, nullable=False, server_default="false"),  # not looked for yet
    Column("result_due", Boolean, nullable=False, server_default="false"),  # of whose share is it a result?
    Column("left_out", JSONB(none_as_null=True)),  # what of its study it does not carry, counted
    Column("given_study_uid", Text),  # how its recipient knows a study that it gets de-identified
    Column("return_due", Boolean, nullable=False, server_default="false"),  # had something come by that UID?
    Column("legal_hold", Boolean, nullable=False, server_default="false"),  # payloads stay until lifted
    Column("retain_days", Integer),  # that payloads stay after its end; None: the usual
    moment("disposed_at", nullable=True),  # its payloads are gone
    Column("at_disposal", JSONB),  # what was counted of its study then
    Column("reached", ARRAY(Text), nullable=False, server_default="{}"),  # endpoints that have some
    UniqueConstraint("source", "study_uid", "recipient", "purpose", "episode"),
    Index("ix_shares_study_uid", "study_uid"),
    Index(
        "ix_shares_given_study_uid",
        "given_study_uid",
        postgresql_where=text("given_study_uid IS NOT NULL"),
    ),
    Index(
        "ix_shares_agreement",
        "agreement",
        postgresql_where=text("state IN ('requested', 'accepted', 'collecting', 'delivering', 'partial')"),
    ),
    Index("ix_shares_return", "created_at", postgresql_where=text("return_due")),
    Index("ix_shares_result", "delivered_at", postgresql_where=text("result_due")),
    Index("ix_shares_priors", "created_at", postgresql_where=text("priors_due")),
    Index(
        "ix_shares_escalation",
        "created_at",
        postgresql_where=text(
            "escalated_at IS NULL AND state IN ('requested', 'accepted', 'collecting', 'delivering')"
        ),
    ),
    Index("ix_shares_recipient", "recipient", "updated_at"),
    Index(
        "ix_shares_undelivered",
        "recipient",
        "created_at",
        postgresql_where=text("state IN ('requested', 'accepted', 'collecting', 'delivering')"),
    ),
    Index(
        "ix_shares_expiry",
        "expires_at",
        postgresql_where=text("state IN ('requested', 'accepted', 'collecting', 'delivering')"),
    ),
)

share_instances = Table(
    "share_instances",
    metadata,
    Column("share", Uuid, primary_key=True),
    sop_instance_uid(primary_key=True),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("part", Integer),  # None: not handed to delivery yet
    Column("state", Text, nullable=False),  # waiting | confirmed | failed
    Column("reason", Text, nullable=False, server_default=""),
    moment("confirmed_at", nullable=True),
)
"""What a share carries and what became of it."""

timeline = Table(
    "timeline",
    metadata,
    Column("seq", BigInteger, Identity(), primary_key=True),
    Column("share", Uuid, nullable=False),
    Column("cause", Uuid, nullable=False),
    Column("step", Text, nullable=False),
    moment("at"),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("details", JSONB, nullable=False, server_default="{}"),
    UniqueConstraint("share", "cause", "step"),
)
"""The steps of a share, each once however often its cause is repeated."""

command_results = Table(
    "command_results",
    metadata,
    Column("command_id", Uuid, primary_key=True),
    Column("recipient", Text, primary_key=True),  # a command to a group has a result for each member
    Column("share", Uuid),  # None where there is none
    Column("outcome", Text, nullable=False),  # done | noted | rejected
    Column("message", Text, nullable=False, server_default=""),
    moment("at", now=True),
)
"""What became of each command, for whoever sent it."""

notices = Table(
    "notices",
    metadata,
    identifier(),
    Column("kind", Text, nullable=False),  # escalated | stuck | outstanding
    source(),
    study_uid(),
    Column("share", Uuid),  # None: about the study
    Column("recipient", Text),
    Column("reason", Text, nullable=False),
    moment("at", index=True),  # of the last time: one that was acknowledged before that is new again
)
"""What a person should know of. Who has acknowledged it is the portal's."""

series = Table(
    "series",
    metadata,
    Column("source", Text, primary_key=True),
    Column("study_uid", Text, primary_key=True),
    Column("series_uid", Text, primary_key=True),
    Column("modality", Text, nullable=False),
    Column("body_part", Text, nullable=False),
    Column("description", Text, nullable=False),  # patient data, maybe
)
"""Series of studies, kept while a rule of the directory requires some."""

marks = Table(
    "marks",
    metadata,
    Column("issuer", Text, primary_key=True),  # patient data, as is the identifier
    Column("patient_id", Text, primary_key=True),
    Column("opted_out", Boolean, nullable=False),  # of the national data opt-out
    Column("sensitive", Boolean, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("set_by", Text, nullable=False),
    moment("at"),
)
"""What is marked of a person's record: the local table behind the port `Marking`."""

holds = Table(
    "holds",
    metadata,
    Column("source", Text, primary_key=True),
    Column("study_uid", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("placed_by", Text, nullable=False),
    Column("institution", Text),  # whose people placed it; None: the network's administration
    moment("at"),
)
"""Studies under legal hold: their payloads stay, whatever their shares say."""

requests = Table(
    "requests",
    metadata,
    identifier(),
    Column("requester", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("wanted", JSONB),  # sealed: of whom, or which study; None once it has ended
    Column("modality", Text),
    Column("studied_from", Text),  # YYYYMMDD, as DICOM writes it
    Column("studied_until", Text),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),  # open | granted | refused | withdrawn | expired
    Column("answer", Text, nullable=False, server_default=""),  # why it is so, in words
    Column("made_by", Text, nullable=False),
    Column("decided_by", Text),
    moment("made_at"),
    moment("decided_at", nullable=True),
    moment("expires_at"),
    Column("granted_by", Text),  # while it waits for its first share, too; for the holder's people alone
    moment("granted_at", nullable=True),
    Column("grant_words", Text, nullable=False, server_default=""),
    moment("looked_at", nullable=True),  # when studies for it were last looked for
    Column("retrieval", Text),  # asking | retrieving | complete | partial | failed | nothing found
    Column("retrieval_words", Text, nullable=False, server_default=""),
    Column("retrieval_order", Integer, nullable=False, server_default=text("0")),
    Index(
        "ix_requests_waiting",
        "looked_at",
        postgresql_where=text("state = 'open' AND granted_at IS NOT NULL"),
    ),
    Index("ix_requests_wanted", "expires_at", postgresql_where=text("wanted IS NOT NULL")),
    Index("ix_requests_requester", "requester", "made_at", "id"),
    Index("ix_requests_holder", "holder", "made_at", "id"),
    Index("ix_requests_expiry", "expires_at", postgresql_where=text("state = 'open'")),
)
"""What one institution asks another for."""

request_shares = Table(
    "request_shares",
    metadata,
    Column("request", Uuid, primary_key=True),
    Column("share", Uuid, primary_key=True),
    Index("ix_request_shares_share", "share"),
)
"""What was shared in answer."""

request_studies = Table(
    "request_studies",
    metadata,
    Column("request", Uuid, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("study_uid", Text, primary_key=True),
    Column("endpoint", Text, nullable=False),
    moment("looked_at", nullable=True),
    moment("shared_at", nullable=True),  # when it was decided about, whatever came of it
    Index("ix_request_studies_due", "source", "study_uid", postgresql_where=text("shared_at IS NULL")),
)
"""What holders' archives said they have of what was asked for: shared once it is here."""

disposed = Table(
    "disposed",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    source(),
    study_uid(),
    sop_instance_uid(),
    Column("digest", Text, nullable=False),
    moment("at"),
    Column("series_uid", Text, nullable=False, server_default=""),  # so that it can still be recalled
    Column("sop_class_uid", Text, nullable=False, server_default=""),
    Index("ix_disposed_study", "source", "study_uid"),
)
"""Accepted instances whose payloads are gone."""

decisions = Table(
    "decisions",
    metadata,
    Column("seq", BigInteger, Identity(), primary_key=True),
    source(),
    study_uid(),
    moment("at"),
    Column("directory_version", Text, nullable=False),
    Column("question", JSONB, nullable=False),  # `imex.sharing.recorded.OpenPart`
    Column("personal", JSONB),  # patient data: `PersonalPart`; None once it is erased
    Column("answer", JSONB, nullable=False),
    Index("ix_decisions_at", "at"),
    Index("ix_decisions_study", "source", "study_uid"),
)
"""Every question that was asked of the directory, and the answer, so that it can be asked again."""

corrections = Table(
    "corrections",
    metadata,
    identifier(),  # of the command, or made of the note's event
    source(),
    study_uid(),
    Column("kind", Text, nullable=False),  # recall | demographics | merge
    Column("code", Text),  # DCM code of the document title of a recall (CID 7010)
    Column("whole", Boolean, nullable=False, server_default="false"),  # all of the study
    Column("reason", Text, nullable=False, server_default=""),
    Column("personal", JSONB),  # patient data: what is right, what was wrong; None once it is erased
    Column("actor", Text, nullable=False),
    Column("actor_institution", Text),
    Column("state", Text, nullable=False),  # heard: of a sender's note | open
    moment("at"),
    # the note: Imex's own has a key of its own, a sender's the payload's
    Column("note_uid", Text),
    Column("note_sent_by", Text),  # imex | source
    Column("note_key", Text),  # None: still to be written
    Column("note_size", BigInteger),
    Column("note_digest", Text),
    Column("note_syntax", Text),
    moment("note_deleted_at", nullable=True),
    Index("ix_corrections_study", "source", "study_uid"),
    Index("ix_corrections_at", "at"),
    Index("ix_corrections_heard", "at", postgresql_where=text("state = 'heard'")),
)
"""What is wrong with what was shared, as its source says."""

corrected_instances = Table(
    "corrected_instances",
    metadata,
    Column("correction", Uuid, primary_key=True),
    sop_instance_uid(primary_key=True),
    Column("series_uid", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Index("ix_corrected_instances_uid", "sop_instance_uid"),
)
"""Which instances a recall takes back."""

note_deliveries = Table(
    "note_deliveries",
    metadata,
    Column("delivery", Uuid, primary_key=True),
    Column("correction", Uuid, nullable=False),
    Column("share", Uuid, nullable=False),
    # notifying: it is under way | notified: the note is there | unreached: it could not be delivered
    Column("state", Text, nullable=False, server_default="notifying"),
    Column("reason", Text, nullable=False, server_default=""),
    Index("ix_note_deliveries_share", "share", "correction"),
)
"""Deliveries that carry a rejection note alone: one to each endpoint that has images of the share."""

corrected_shares = Table(
    "corrected_shares",
    metadata,
    Column("correction", Uuid, primary_key=True),
    Column("share", Uuid, primary_key=True),
    Column("recipient", Text, nullable=False),
    # stopped: nothing had left | due: a note is to go | notifying: it is under way | notified: it is there
    # told: where no note can go, people read of it | unreached: it could not be delivered
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("delivery", Uuid),  # that carries the note alone, or the first of them; None: with the share's own
    moment("at"),
    moment("notified_at", nullable=True),
    moment("acknowledged_at", nullable=True),
    Column("acknowledged_by", Text),
    Column("remark", Text, nullable=False, server_default=""),
    moment("noticed_at", nullable=True),  # when a notice was raised, as nobody had acknowledged it
    Index("ix_corrected_shares_share", "share"),
    Index("ix_corrected_shares_delivery", "delivery", postgresql_where=text("delivery IS NOT NULL")),
    Index("ix_corrected_shares_due", "at", postgresql_where=text("state IN ('due', 'notifying')")),
    Index(
        "ix_corrected_shares_outstanding",
        "at",
        postgresql_where=text("acknowledged_at IS NULL AND state <> 'stopped'"),
    ),
)
"""Whom a correction concerns, and how far it has come."""

subject_findings = subject_findings_table(metadata)
"""What was found, erased, rectified and kept of persons, for whoever asked."""
