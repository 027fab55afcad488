"""A small pynetdicom node, as its own documentation would write one.

`serve PORT FOLDER ONWARDS` writes and syncs every data set without decoding it, answers, and when ONWARDS is
a port, sends it there on one association; `send PORT FOLDER` sends a folder's files.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom import _config as configuration

from benchmarks.systems.port import RECEIVER
from benchmarks.wire import MAX_PDU

_CALLED = "PYNETDICOM"
_SOP_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.6.1",
)
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


def serve(port: int, folder: Path, onwards: int) -> None:
    """Until the process is ended."""
    waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
    if onwards:
        threading.Thread(target=_forward, args=(onwards, waiting), daemon=True).start()

    def stored(event: Any) -> int:
        path = folder / f"{event.request.AffectedSOPInstanceUID}.dcm"
        with path.open("wb") as file:
            file.write(event.encoded_dataset())
            file.flush()
            os.fdatasync(file.fileno())
        waiting.put(path)
        return 0

    node = _node()
    node.supported_contexts = AllStoragePresentationContexts
    node.maximum_associations = 64
    handlers = [(evt.EVT_C_STORE, stored), (evt.EVT_CONN_OPEN, _without_delay)]
    node.start_server(("127.0.0.1", port), evt_handlers=handlers)


def send(port: int, folder: Path) -> None:
    """All files of a folder on one association."""
    association = _associate(port)
    for path in sorted(folder.iterdir()):
        association.send_c_store(path)
    association.release()


def _forward(port: int, waiting: queue.SimpleQueue[Path]) -> None:
    association = None
    while True:
        path = waiting.get()
        if association is None or not association.is_established:
            association = _associate(port)
        association.send_c_store(path)


def _associate(port: int) -> Any:
    node = _node()
    for sop_class in _SOP_CLASSES:
        node.add_requested_context(sop_class, _EXPLICIT_LITTLE)
    handlers = [(evt.EVT_CONN_OPEN, _without_delay)]
    return node.associate("127.0.0.1", port, ae_title=RECEIVER, max_pdu=MAX_PDU, evt_handlers=handlers)


def _without_delay(event: Any) -> None:
    """As for the other systems: with Nagle's delay, that would be what is measured."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _node() -> Any:
    # sends a file as it is, in parts, instead of decoding and encoding it
    configuration.STORE_SEND_CHUNKED_DATASET = True
    node = AE(ae_title=_CALLED)
    node.maximum_pdu_size = MAX_PDU
    return node


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        send(int(sys.argv[2]), Path(sys.argv[3]))
