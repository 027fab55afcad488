"""Spans around handlers, after OpenTelemetry's messaging conventions.

A record handed over alone is a child of its sender's span. Of a batch each record is a link; when all its
records belong to one trace the batch is a child in it, since links are not shown everywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from imex.observability.names import SpanName
from imex.runtime.message import Message

_PROPAGATOR = TraceContextTextMapPropagator()


def context_of(traceparent: str | None) -> Context | None:
    """The remote parent that a W3C `traceparent` names; None when it is missing or malformed."""
    if not traceparent:
        return None
    context = _PROPAGATOR.extract({"traceparent": traceparent}, Context())
    return context if get_current_span(context).get_span_context().is_valid else None


@contextmanager
def handling(tracer: Tracer, group: str, messages: Sequence[Message]) -> Iterator[None]:
    """A span for one call of a handler. The error status says the kind of exception and nothing else."""
    parents = dict.fromkeys(message.traceparent for message in messages)
    contexts = [context for parent in parents if (context := context_of(parent))]
    spans = [get_current_span(context).get_span_context() for context in contexts]
    same_trace = len({span.trace_id for span in spans}) == 1
    topics = sorted({message.topic for message in messages})
    with tracer.start_as_current_span(
        f"{SpanName.PROCESS} {topics[0] if len(topics) == 1 else 'several'}",
        context=contexts[0] if same_trace else Context(),
        kind=SpanKind.CONSUMER,
        links=[] if len(messages) == 1 else _links(spans),
        attributes=_attributes(group, topics, messages),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def _links(spans: Sequence[SpanContext]) -> list[Link]:
    return [Link(span) for span in {(span.trace_id, span.span_id): span for span in spans}.values()]


def _attributes(
    group: str, topics: Sequence[str], messages: Sequence[Message]
) -> Mapping[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.consumer.group.name": group,
        "messaging.destination.name": topics[0] if len(topics) == 1 else ",".join(topics),
    }
    if len(messages) == 1:
        (message,) = messages
        attributes["messaging.kafka.offset"] = message.offset
        attributes["messaging.destination.partition.id"] = str(message.partition)
        attributes["messaging.message.id"] = str(message.event.id)
    else:
        attributes["messaging.batch.message_count"] = len(messages)
    return attributes
