"""The broker, for the few operations that read it."""

from imex.portal.context import Broker, Portal
from imex.portal.problems import Problem


def broker_of(portal: Portal) -> Broker:
    """The portal's access to Kafka.

    Raises:
        Problem: 503, it was started without.
    """
    if portal.broker is None:
        raise Problem(503, "This portal has no connection to Kafka.")
    return portal.broker
