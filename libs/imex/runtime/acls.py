"""Who may do what on the broker, from the catalogue (KIP-11, KIP-290).

aiokafka's administrator has no call for access rules, so the CreateAcls request (API key 30) is sent as
the protocol defines it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest

from imex.events import SERVICES, Topic
from imex.runtime.topics import connect_admin
from imex.settings import KafkaSettings


class Resource(IntEnum):
    """Resource types of the protocol."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4


class Pattern(IntEnum):
    """How a resource's name is matched."""

    LITERAL = 3
    PREFIXED = 4


class Operation(IntEnum):
    """What is done."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    IDEMPOTENT_WRITE = 12


_ALLOW = 3

OPERATOR = "portal"
"""The service through which people look at dead letters and put one back on its topic."""


WATCHES = {"routing": "validation", "portal": "validation"}
"""Who may see how far another service has got: routing closes no study that validation has not read, and the
portal commits to nothing while a newer version may wait there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One user may do one thing."""

    user: str
    resource: Resource
    name: str
    pattern: Pattern
    operation: Operation


def principal(service: str) -> str:
    """The broker's user of a service, which also begins the names of its consumer groups."""
    return f"imex-{service}"


def rules(catalog: Sequence[Topic], services: Sequence[str] = SERVICES) -> list[Rule]:
    """What each service may do: write its topics, read those it consumes, and write their dead letters.

    The portal may also read every dead letter, and write every topic so that one can be put back.
    """
    made: list[Rule] = []
    for service in services:
        user = principal(service)

        def allow(resource: Resource, name: str, *operations: Operation, user: str = user) -> None:
            pattern = Pattern.PREFIXED if resource is Resource.GROUP else Pattern.LITERAL
            made.extend(Rule(user, resource, name, pattern, operation) for operation in operations)

        allow(Resource.GROUP, user, Operation.READ, Operation.DESCRIBE)
        # brokers before 2.8 want this beside WRITE for an idempotent producer (KIP-679)
        allow(Resource.CLUSTER, "kafka-cluster", Operation.IDEMPOTENT_WRITE)
        watched = WATCHES.get(service)
        if watched is not None:
            allow(Resource.GROUP, principal(watched), Operation.DESCRIBE)
        for topic in catalog:
            if watched in topic.consumers:
                allow(Resource.TOPIC, topic.name, Operation.DESCRIBE)
            if service in topic.producers:
                allow(Resource.TOPIC, topic.name, Operation.WRITE, Operation.DESCRIBE)
            if service in topic.consumers:
                allow(Resource.TOPIC, topic.name, Operation.READ, Operation.DESCRIBE)
                allow(Resource.TOPIC, topic.dead_letter, Operation.WRITE, Operation.DESCRIBE)
            if service == OPERATOR:
                allow(Resource.TOPIC, topic.dead_letter, Operation.READ, Operation.DESCRIBE)
                allow(Resource.TOPIC, topic.name, Operation.WRITE, Operation.DESCRIBE)
    return list(dict.fromkeys(made))


async def ensure_acls(settings: KafkaSettings, catalog: Sequence[Topic]) -> None:
    """Give every service its rules. Safe to repeat; takes nothing away.

    Raises:
        KafkaError: the broker refused, for instance since it has no authorizer.
    """
    admin = await connect_admin(settings)
    try:
        for rule in rules(catalog):
            response = await admin._send_to_controller(_request(rule))
            for code, message in response.creation_responses:
                if code:
                    raise for_code(code)(f"access rule for {rule.user} on {rule.name}: {message}")
    finally:
        await admin.close()


def _request(rule: Rule) -> CreateAclsRequest:
    return CreateAclsRequest(
        resource_type=rule.resource,
        resource_name=rule.name,
        resource_pattern_type_filter=rule.pattern,
        principal=f"User:{rule.user}",
        host="*",
        operation=rule.operation,
        permission_type=_ALLOW,
    )
