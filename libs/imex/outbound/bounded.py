"""How much a peer may send on an association of pynetdicom, which keeps what comes in memory."""

import errno
from typing import Any


class Bounded:
    """Ends one association on which more comes than any answer takes. A handler of `evt.EVT_CONN_OPEN`.

    What a PDU announces counts before it is read: a length of four bytes may announce 4 GiB, and a message
    may go on in fragments without end.
    """

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes` in all, until the association ends."""
        self._left = most_bytes

    def __call__(self, event: Any) -> None:
        """The connection is open: from now on it is counted."""
        connection = event.assoc.dul.socket
        receive = connection.recv

        def bounded(nr_bytes: int) -> bytearray:
            self._left -= nr_bytes
            if self._left < 0:
                connection.close()
                raise OSError(errno.EMSGSIZE, "the peer sends more than any answer takes")
            taken: bytearray = receive(nr_bytes)
            return taken

        connection.recv = bounded
