"""Whether the other side of a connection has gone, even while nothing is read from it."""

import select
from typing import Any


def hung_up(connection: Any) -> bool:
    """Whether a socket's other end is closed, at least for writing; what is unread stays unread."""
    if connection is None:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLRDHUP)
    return any(event & (select.POLLRDHUP | select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
