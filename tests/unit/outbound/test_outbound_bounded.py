"""A peer that sends without end is hung up on."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pynetdicom import AE, evt

from imex.dimse import pdu
from imex.dimse.items import ContextResult, UserInformation
from imex.outbound.bounded import Bounded

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
MOST = 1 << 18


def fragments(connection: socket.socket) -> None:
    """One message, never its last fragment."""
    while True:
        connection.sendall(pdu.data_header(1, 16000, command=True, last=False) + bytes(16000))


def giant(connection: socket.socket) -> None:
    """One PDU of 4 GiB."""
    connection.sendall(struct.pack(">BBL", 0x04, 0, 0xFFFFFFFF))
    while True:
        connection.sendall(bytes(16000))


@contextmanager
def peer(sends: Callable[[socket.socket], None]) -> Iterator[tuple[int, threading.Thread]]:
    """Accepts an association and then sends; the thread ends once it is hung up on."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1 << 16)
            information = UserInformation(16384, "1.2.3")
            accepted = pdu.AssociateAccept("PEER", "IMEX", (ContextResult(1, 0, IMPLICIT),), information)
            connection.sendall(pdu.encode_associate_accept(accepted))
            with contextlib.suppress(OSError):
                sends(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with server:
        yield server.getsockname()[1], thread


@pytest.mark.parametrize("sends", [fragments, giant])
def test_who_sends_without_end_is_hung_up_on(sends: Callable[[socket.socket], None]) -> None:
    entity = AE("IMEX")
    entity.dimse_timeout = entity.network_timeout = 60
    entity.add_requested_context(VERIFICATION, IMPLICIT)
    with peer(sends) as (port, thread):
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, Bounded(MOST))]
        association = entity.associate("127.0.0.1", port, ae_title="PEER", evt_handlers=handlers)
        thread.join(10)
        assert not thread.is_alive()
        if association.is_alive():
            association.join(10)
        assert not association.is_established


def test_what_is_within_bounds_is_taken() -> None:
    server = AE("PEER")
    server.add_supported_context(VERIFICATION)
    listening = server.start_server(("127.0.0.1", 0), block=False)
    assert listening is not None
    try:
        entity = AE("IMEX")
        entity.add_requested_context(VERIFICATION)
        port = listening.server_address[1]
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, Bounded(MOST))]
        association = entity.associate("127.0.0.1", port, ae_title="PEER", evt_handlers=handlers)
        assert association.send_c_echo().Status == 0
        association.release()
    finally:
        listening.shutdown()
