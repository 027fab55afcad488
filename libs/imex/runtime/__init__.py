"""The Kafka engine: intake, order, offsets, failure policy, outbox relay and service life cycle."""

from imex.runtime.consumer import Consumer
from imex.runtime.errors import BrokerUnavailable, Park, Poison, Transient
from imex.runtime.health import Component, Health
from imex.runtime.message import DeadLetterHook, Handler, Message, RawRecord, StatelessHandler
from imex.runtime.policy import Policy
from imex.runtime.producer import Producer
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
