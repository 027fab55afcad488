"""Where spans go. Zipkin's exporter drops span links: what must be seen there is a parent or an attribute."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from imex.settings import TracesSettings

EXPORT_TIMEOUT_S = 5
_COMPLAIN_EVERY_S = 60.0


def exporter_for(
    settings: TracesSettings, *, on_drop: Callable[[float], None] | None = None
) -> SpanExporter | None:
    """The exporter that the settings name, undisturbing; None for ``none``.

    Raises ``ValueError`` where an exporter is named without its endpoint.
    """
    if settings.exporter == "none":
        return None
    if not settings.endpoint:
        raise ValueError(
            f"IMEX_TRACES_ENDPOINT is missing: IMEX_TRACES_EXPORTER={settings.exporter} needs it"
        )
    base = settings.endpoint.rstrip("/")
    return Undisturbing(_zipkin(base) if settings.exporter == "zipkin" else _otlp(base), base, on_drop)


class Undisturbing(SpanExporter):
    """Counts what could not be exported and complains about it once a minute; never raises."""

    def __init__(self, inner: SpanExporter, endpoint: str, on_drop: Callable[[float], None] | None) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._on_drop = on_drop
        self._complained = float("-inf")
        self._log = structlog.get_logger(__name__)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, whatever happens."""
        try:
            result = self._inner.export(spans)
        except Exception as error:  # noqa: BLE001 - traces must never disturb what they observe
            result, why = SpanExportResult.FAILURE, type(error).__name__
        else:
            why = "refused"
        if result is not SpanExportResult.SUCCESS:
            if self._on_drop:
                self._on_drop(len(spans))
            now = time.monotonic()
            if now - self._complained >= _COMPLAIN_EVERY_S:
                self._complained = now
                self._log.warning("spans dropped", endpoint=self._endpoint, spans=len(spans), why=why)
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush what the exporter itself holds."""
        return self._inner.force_flush(timeout_millis)


def _zipkin(base: str) -> SpanExporter:
    from opentelemetry.exporter.zipkin.json import ZipkinExporter
    from opentelemetry.exporter.zipkin.json.v2 import JsonV2Encoder

    class Encoder(JsonV2Encoder):
        """Names the far side too, without which Zipkin draws no edge between services and broker."""

        def _encode_span(self, span: Any, encoded_local_endpoint: Any) -> dict[str, Any]:
            encoded: dict[str, Any] = super()._encode_span(span, encoded_local_endpoint)
            attributes = span.attributes or {}
            peer = attributes.get("peer.service") or attributes.get("messaging.system")
            if peer:
                encoded["remoteEndpoint"] = {"serviceName": str(peer)}
            return encoded

    exporter = ZipkinExporter(endpoint=f"{base}/api/v2/spans", timeout=EXPORT_TIMEOUT_S)
    exporter.encoder = Encoder(max_tag_value_length=512)  # type: ignore[assignment]  # inferred too narrowly
    return exporter


def _otlp(base: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=EXPORT_TIMEOUT_S)
