"""The Kafka engine: intake, order, offsets, failure policy, outbox relay and service life cycle.

What needs a database is imported when it is asked for: ingest has none, and SQLAlchemy with its driver would
be a quarter of its memory.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from imex.runtime.errors import BrokerUnavailable, Park, Poison, Transient
from imex.runtime.health import Component, Health
from imex.runtime.message import DeadLetterHook, Handler, Message, RawRecord, StatelessHandler
from imex.runtime.policy import Policy
from imex.runtime.producer import Producer

if TYPE_CHECKING:
    from imex.runtime.consumer import Consumer
    from imex.runtime.relay import Relay

__all__ = [
    "BrokerUnavailable",
    "Component",
    "Consumer",
    "DeadLetterHook",
    "Handler",
    "Health",
    "Message",
    "Park",
    "Poison",
    "Policy",
    "Producer",
    "RawRecord",
    "Relay",
    "StatelessHandler",
    "Transient",
]

_ON_DEMAND = {"Consumer": "imex.runtime.consumer", "Relay": "imex.runtime.relay"}


def __getattr__(name: str) -> object:
    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
