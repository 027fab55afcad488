"""The names of everything measured and traced; a metric or span that is not here does not exist.

Labels never hold patient data, and only values of a bounded set (institution codes, states, topics).
"""

from dataclasses import dataclass
from enum import StrEnum

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_SLOW = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)


@dataclass(frozen=True, slots=True)
class CounterName:
    """Something that only grows; its exposed name ends in ``_total``."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GaugeName:
    """Something that goes up and down."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramName:
    """A distribution; ``buckets`` are upper bounds in the metric's unit."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = _FAST


MetricName = CounterName | GaugeName | HistogramName

BUILD = GaugeName("imex_build_info", "1, with the version that runs", ("service", "version"))
DIRECTORY_SINCE = GaugeName(
    "imex_directory_since_seconds", "Unix time at which the directory version in use took effect here"
)
DIRECTORY_CHANGES = CounterName(
    "imex_directory_changes_total", "Directory versions put into use", ("outcome",)
)
SPANS_DROPPED = CounterName("imex_traces_dropped_total", "Spans that could not be exported")

INGEST_ASSOCIATIONS = CounterName(
    "imex_ingest_associations_total", "Associations, by how they ended or were refused", ("outcome",)
)
INGEST_ASSOCIATIONS_OPEN = GaugeName("imex_ingest_associations_open", "Associations open now")
INGEST_INSTANCES = CounterName(
    "imex_ingest_instances_total", "C-STOREs answered, by lane and status (0000, A700 …)", ("lane", "status")
)
INGEST_BYTES = CounterName("imex_ingest_bytes_total", "Bytes of payload acknowledged")
INGEST_STORE_SECONDS = HistogramName(
    "imex_ingest_store_seconds", "From the C-STORE command to its answer", ("lane",)
)
INGEST_STEP_SECONDS = HistogramName(
    "imex_ingest_step_seconds", "Time spent on the object store and on the broker", ("step",)
)
INGEST_IN_FLIGHT = GaugeName("imex_ingest_in_flight_bytes", "Memory held by data sets on their way")
INGEST_BACKGROUND_WAITING = GaugeName(
    "imex_ingest_background_waiting", "Ends of associations and audit records not acknowledged yet"
)
INGEST_CERTIFICATE_EXPIRES = GaugeName(
    "imex_ingest_certificate_expires_seconds",
    "Until a certificate of the TLS port expires (the server's, the CA's); below 0: it has",
    ("certificate",),
)
INGEST_SENDER_CERTIFICATE_EXPIRES = GaugeName(
    "imex_ingest_sender_certificate_expires_seconds",
    "Until the certificate that an institution used last expires, when it was used",
    ("institution",),
)
INGEST_BACKGROUND_DROPPED = CounterName(
    "imex_ingest_background_dropped_total",
    "Events given up since the queue was full or ingest stopped",
    ("type",),
)

INGEST_LIMITED = CounterName(
    "imex_ingest_limited_total",
    "Refused for want of room, by limit, whose limit it is, and institution",
    ("limit", "scope", "institution"),
)
INGEST_LIMIT_DECISIONS = CounterName(
    "imex_ingest_limit_decisions_total",
    "Associations let in: at once, by the topic, or alone while the topic was away",
    ("how",),
)
INGEST_LIMIT_OVERSHOT = CounterName(
    "imex_ingest_limit_overshot_total", "Associations let in at once that turned out to be beyond the limit"
)
INGEST_LIMIT_PROCESSES = GaugeName("imex_ingest_limit_processes", "Processes that share the limits")
INGEST_LIMIT_ASSOCIATIONS = GaugeName(
    "imex_ingest_limit_associations", "Associations of all processes, as this one knows"
)
STORE_USED = GaugeName("imex_store_used_bytes", "Of the object store; NaN while it is not known")
STORE_TOTAL = GaugeName("imex_store_total_bytes", "Of the object store; NaN while it is not known")
STORE_REFUSING = GaugeName(
    "imex_store_refusing", "1 while the object store is so full that only emergencies are taken"
)

RUNTIME_RECORDS = CounterName(
    "imex_runtime_records_total", "Records handled, by outcome", ("group", "topic", "outcome")
)
RUNTIME_BATCH_SECONDS = HistogramName(
    "imex_runtime_batch_seconds", "From hand-over of a batch to its commit", ("group", "topic")
)
RUNTIME_LAG = GaugeName(
    "imex_runtime_lag_records", "Records not yet handled", ("group", "topic", "partition")
)
RUNTIME_OLDEST = GaugeName(
    "imex_runtime_oldest_seconds", "Age of the oldest record not yet handled", ("group", "topic")
)
RUNTIME_DEAD_LETTERS = CounterName(
    "imex_runtime_dead_letters_total", "Records written to a dead-letter topic", ("group", "topic")
)
RUNTIME_BREAKER = GaugeName(
    "imex_runtime_breaker_open", "1 while the circuit breaker holds a topic", ("group", "topic")
)
RUNTIME_REBALANCES = CounterName("imex_runtime_rebalances_total", "Rebalances gone through", ("group",))
OUTBOX_WAITING = GaugeName("imex_outbox_waiting_rows", "Rows not yet published", ("schema",))
OUTBOX_OLDEST = GaugeName(
    "imex_outbox_oldest_seconds", "Age of the oldest row not yet published", ("schema",)
)
OUTBOX_PUBLISHED = CounterName("imex_outbox_published_total", "Rows published", ("schema",))

VALIDATION_INSTANCES = CounterName(
    "imex_validation_instances_total", "Instances judged, by outcome and reason's code", ("outcome", "reason")
)
VALIDATION_DELETED = CounterName(
    "imex_validation_payloads_deleted_total", "Objects deleted from the store once nobody needed them"
)
VALIDATION_ORPHANS = CounterName(
    "imex_validation_orphans_total", "Objects that no event told of, found and given up"
)
VALIDATION_WAITING = GaugeName("imex_validation_quarantine_entries", "Entries waiting for a person")

ROUTING_SHARES = CounterName("imex_routing_shares_total", "Changes of a share's state", ("state", "priority"))
ROUTING_ESCALATIONS = CounterName(
    "imex_routing_escalations_total",
    "Shares not delivered in their time, by what was made of them",
    ("priority", "to"),
)
ROUTING_STUDIES_OPEN = GaugeName("imex_routing_studies_open", "Studies that are not complete yet")
ROUTING_COLLECT_SECONDS = HistogramName(
    "imex_routing_collect_seconds",
    "From a study's first instance to its completeness",
    ("priority",),
    buckets=_SLOW,
)

DELIVERY_ATTEMPTS = CounterName(
    "imex_delivery_attempts_total", "Attempts to deliver, by outcome", ("recipient", "outcome")
)
DELIVERY_INSTANCES = CounterName(
    "imex_delivery_instances_total", "Instances sent, by outcome", ("recipient", "outcome")
)
DELIVERY_BYTES = CounterName("imex_delivery_bytes_total", "Bytes confirmed", ("recipient",))
DELIVERY_WAITING = GaugeName("imex_delivery_waiting_jobs", "Deliveries waiting", ("recipient",))
DELIVERY_RUNNING = GaugeName("imex_delivery_running_jobs", "Deliveries being sent", ("recipient",))
DELIVERY_HELD = GaugeName(
    "imex_delivery_held_destinations",
    "Destinations to which nothing goes: paused by a person, or away",
    ("recipient", "endpoint", "why"),
)
DELIVERY_QUEUE = GaugeName("imex_delivery_queue_jobs", "Deliveries not ended", ("priority", "state"))
DELIVERY_SECONDS = HistogramName(
    "imex_delivery_seconds",
    "From the first part of a manifest to the receipt that all is confirmed",
    ("priority",),
    buckets=_SLOW,
)
DELIVERY_STORE_SECONDS = HistogramName(
    "imex_delivery_store_seconds", "From C-STORE sent to its answer", ("recipient",)
)
DELIVERY_RETRIEVALS = CounterName(
    "imex_delivery_retrievals_total", "Looks into holders' archives, by how they ended", ("holder", "outcome")
)

AUDIT_RECORDS = CounterName("imex_audit_records_total", "Records chained", ("action",))

PORTAL_REQUESTS = CounterName(
    "imex_portal_requests_total", "Requests, by route", ("method", "route", "status")
)
PORTAL_SECONDS = HistogramName("imex_portal_request_seconds", "Time to answer", ("route",))
PORTAL_DICOM_ASSOCIATIONS = CounterName(
    "imex_portal_dicom_associations_total",
    "Associations on the portal's DICOM ports, by how they ended or were refused",
    ("outcome",),
)
PORTAL_DICOM_OPERATIONS = CounterName(
    "imex_portal_dicom_operations_total",
    "C-FIND, C-MOVE, C-GET and N-ACTION answered, by status (0000, A700 …)",
    ("operation", "status"),
)
PORTAL_DICOM_IMAGES = CounterName(
    "imex_portal_dicom_images_total",
    "Images that were to be sent by C-MOVE and C-GET: completed, warning, failed",
    ("operation", "outcome"),
)
PORTAL_COMMITMENTS = CounterName(
    "imex_portal_commitment_instances_total",
    "Instances that senders asked storage commitments of, by what was decided: committed, refused",
    ("outcome",),
)
PORTAL_COMMITMENT_QUESTIONS = CounterName(
    "imex_portal_commitment_questions_total",
    "Storage commitments that senders asked for: asked, refused, answered, given up",
    ("outcome",),
)
PORTAL_SIGN_INS = CounterName("imex_portal_sign_ins_total", "Sign-ins, by outcome", ("outcome",))


def all_metrics() -> tuple[MetricName, ...]:
    """Every metric there is, for dashboards, alerts and tests."""
    return tuple(
        value for value in globals().values() if isinstance(value, CounterName | GaugeName | HistogramName)
    )


class SpanName(StrEnum):
    """Spans are associations, batches, decisions and attempts; facts of one instance are timeline rows."""

    STUDY = "study"
    """The root of a study's trace, exported by routing when its share ends."""
    ASSOCIATION = "association"
    VALIDATE = "validate"
    ROUTE = "route"
    CLOSE = "close study"
    DELIVER = "deliver"
    ATTEMPT = "delivery attempt"
    COMMAND = "command"
    AUDIT = "audit"
    PROCESS = "process"
