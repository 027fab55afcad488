"""The sending end of every system under test: a process for each association, everything encoded beforehand.

`python -m benchmarks.sender` reads one `Order` (pickled) from standard input, makes its processes, sends when
all are ready, and prints what it saw as JSON. An association has one C-STORE under way at a time.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import wire
from benchmarks.corpus import Study, Template, load

_IOV_MAX = 1024


@dataclass(frozen=True)
class Order:
    """What to send to whom: for each association its studies, in order."""

    port: int
    calling: str
    called: str
    templates: Path
    associations: Sequence[Sequence[Study]]
    every_s: float = 0.0
    """Seconds from one C-STORE to the next, and each study in an association of its own, as
    modalities send; 0: as fast as it is answered, all in one."""


def run(order: Order) -> dict[str, Any]:
    """Send; gives back the moments (monotonic clock, seconds) and the CPU seconds of the senders."""
    templates = load(order.templates)
    gate_read, gate_write = os.pipe()
    children = [_fork(order, templates, studies, (gate_read, gate_write)) for studies in order.associations]
    for _, results in children:
        assert results.readline() == b"ready\n"
    os.close(gate_read)
    os.close(gate_write)  # the end of the file is the signal to all
    seen = [json.loads(results.read() or b'{"problem": "a sender died"}') for _, results in children]
    for pid, _ in children:
        os.waitpid(pid, 0)
    problems = [each["problem"] for each in seen if "problem" in each]
    if problems:
        return {"problem": problems[0]}
    return {
        "first": min(each["first"] for each in seen),
        "last": max(each["last"] for each in seen),
        "cpu_s": sum(each["cpu_s"] for each in seen),
    }


def _fork(
    order: Order, templates: Sequence[Template], studies: Sequence[Study], gate: tuple[int, int]
) -> tuple[int, Any]:
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, os.fdopen(read, "rb", buffering=0)
    try:
        os.close(gate[1])
        os.write(write, b"ready\n")
        os.read(gate[0], 1)
        try:
            said: dict[str, Any] = _send_all(order, templates, studies)
        except (OSError, ValueError, KeyError, struct.error) as problem:
            said = {"problem": repr(problem)}
        os.write(write, json.dumps(said).encode())
    finally:
        os._exit(0)


def _send_all(order: Order, templates: Sequence[Template], studies: Sequence[Study]) -> dict[str, float]:
    groups = [[study] for study in studies] if order.every_s else [studies]
    seen = [_associate_and_send(order, templates, group) for group in groups]
    spent = sum(each["cpu_s"] for each in seen)
    return {"first": seen[0]["first"], "last": seen[-1]["last"], "cpu_s": spent}


def _associate_and_send(
    order: Order, templates: Sequence[Template], studies: Sequence[Study]
) -> dict[str, float]:
    spent = _cpu()
    contexts = sorted({(template.sop_class, template.transfer_syntax) for template in templates})
    with socket.create_connection(("127.0.0.1", order.port), 60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(wire.associate_request(order.called, order.calling, contexts))
        kind, body = _read_pdu(peer)
        if kind != wire.ASSOCIATE_AC:
            raise ConnectionError(f"no association: PDU {kind}, {body.hex()}")
        ids, longest = wire.accepted(body)
        context_ids = {context: 2 * number + 1 for number, context in enumerate(contexts)}
        if not set(context_ids.values()) <= ids:
            raise ConnectionError("a presentation context was not accepted")
        first = time.monotonic()
        number = 0
        for study in studies:
            for index, uid in study.instances:
                time.sleep(max(0.0, first + number * order.every_s - time.monotonic()))
                number += 1
                template = templates[index]
                context_id = context_ids[template.sop_class, template.transfer_syntax]
                command = wire.store_request(number % 65536, template.sop_class, uid)
                data = wire.data_pdus(context_id, template.parts(study.identifiers(uid)), longest)
                _send(peer, [wire.command_pdu(context_id, command), *data])
                _succeeded(*_read_pdu(peer))
        last = time.monotonic()
        peer.sendall(wire.release_request())
        _read_pdu(peer)
    return {"first": first, "last": last, "cpu_s": _cpu() - spent}


def _send(peer: socket.socket, buffers: list[bytes | memoryview]) -> None:
    while buffers:
        sent = peer.sendmsg(buffers[:_IOV_MAX])
        done = 0
        while done < len(buffers) and sent >= len(buffers[done]):
            sent -= len(buffers[done])
            done += 1
        del buffers[:done]
        if sent:
            buffers[0] = memoryview(buffers[0])[sent:]


def _read_pdu(peer: socket.socket) -> tuple[int, bytes]:
    kind, _, length = struct.unpack(">BBI", _read(peer, 6))
    return kind, _read(peer, length)


def _read(peer: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        read = peer.recv(length - len(data))
        if not read:
            raise ConnectionError("the peer has closed the connection")
        data += read
    return data


def _succeeded(kind: int, body: bytes) -> None:
    if kind != wire.P_DATA:
        raise ConnectionError(f"no answer to C-STORE: PDU {kind}, {body.hex()}")
    elements = wire.command_elements(body[6:])
    status = struct.unpack("<H", elements[wire.STATUS])[0]
    if status != 0:
        raise ConnectionError(f"C-STORE status 0x{status:04X} {elements.get(0x0902, b'').decode()}")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(pickle.loads(sys.stdin.buffer.read()))))
