"""Logs: one JSON object a line on standard output, with the trace, the share and the study it is about.

Values of a failing input never reach a log: of an exception the type, its place and its own words are kept,
of a pydantic ``ValidationError`` only which fields failed and how, of the database's errors only their code.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import structlog
from opentelemetry import trace
from pydantic import ValidationError
from structlog.typing import EventDict, Processor

MAX_WORDS = 500
"""Characters of an exception's words that are kept."""
MAX_FRAMES = 12
_QUOTED = re.compile(r"(['\"]).*\1", re.DOTALL)
_DATABASE = ("sqlalchemy", "psycopg")


def configure_logging(service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Route structlog and the standard library's logging to one JSON stream; once, at the start."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_trace,
        _add(service=service),
        _explain_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("aiokafka", "urllib3", "asyncio", "httpx2", "httpcore2", "opentelemetry"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for quoting in ("pydicom", "pynetdicom"):  # they log what is asked for and what comes: patient data
        logging.getLogger(quoting).setLevel(logging.CRITICAL + 1)
    for own in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(own)
        logger.handlers.clear()
        logger.propagate = True


@contextmanager
def about(
    *,
    trace_id: str | None = None,
    share: object = None,
    study_uid: str | None = None,
    source: str | None = None,
) -> Iterator[None]:
    """Everything logged inside is about this share or study; follows tasks that are started inside."""
    facts = {
        "trace_id": trace_id,
        "share": str(share) if share is not None else None,
        "study_uid": study_uid,
        "source": source,
    }
    with structlog.contextvars.bound_contextvars(**{name: v for name, v in facts.items() if v is not None}):
        yield


def _add(**facts: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return {**facts, **event}

    return add


def _add_trace(_logger: Any, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", f"{context.trace_id:032x}")
        event["span_id"] = f"{context.span_id:016x}"
    return event


def _explain_exception(_logger: Any, _method: str, event: EventDict) -> EventDict:
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["error"] = {
            "type": f"{type(error).__module__}.{type(error).__qualname__}",
            "words": _words(error),
            "at": [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(error.__traceback__, limit=-MAX_FRAMES)
            ],
        }
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None:
            event["error"]["cause"] = f"{type(cause).__qualname__}: {_words(cause)}"
    return event


def _words(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        places = [
            f"{'.'.join(map(str, one['loc']))}: {one['type']}"
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        return f"{error.title}: {'; '.join(places)}"[:MAX_WORDS]
    if type(error).__module__.partition(".")[0] in _DATABASE:
        return _database_words(error)
    if isinstance(error, ValueError | LookupError) and not type(error).__module__.startswith("imex."):
        # `int()`, `date.fromisoformat()` or a mapping quote what they were given
        return _QUOTED.sub("'…'", str(error))[:MAX_WORDS]
    return str(error)[:MAX_WORDS]


def _database_words(error: BaseException) -> str:
    """Statements carry parameters, and the server quotes rows: only SQLSTATE and constraint are kept."""
    driver = getattr(error, "orig", None) or error
    diagnostics = getattr(driver, "diag", None)
    facts = {
        "kind": type(driver).__qualname__,
        "sqlstate": getattr(driver, "sqlstate", None),
        "constraint": getattr(diagnostics, "constraint_name", None),
    }
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value)
