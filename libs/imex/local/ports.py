"""Which TCP ports a stack uses: fixed ones for the default home, free ones otherwise."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

FIXED = {
    "dicom": 11112,
    "dicom_tls": 2762,
    "query": 11113,
    "query_tls": 2763,
    "portal": 8080,
    "kafka": 9092,
    "kafka_controller": 9093,
    "minio": 9000,
    "postgres": 5433,
    "zipkin": 9411,
    "ingest": 8091,
    "validation": 8092,
    "routing": 8093,
    "delivery": 8094,
    "audit": 8095,
    "stow": 8096,
    "hl7": 2575,
    "hospital_a": 4242,
    "hospital_b": 4243,
    "hospital_b_http": 8043,
    "weed_master": 9333,
    "weed_master_grpc": 19333,
    "weed_volume": 9340,
    "weed_volume_grpc": 19340,
    "weed_filer": 9888,
    "weed_filer_grpc": 19888,
    "weed_s3_grpc": 19000,
}
"""Name of the listener to its port on a stack with the default home."""

_FURTHER = {"ingest": 8100, "delivery": 8120}
"""`ingest-2` has 8102, `delivery-3` has 8123."""

_NOT_ALWAYS = ("hospital", "weed")
"""Listeners that a stack may do without: only their own start minds that a port is taken."""

_LOWEST, _HIGHEST = 15_000, 32_000
"""Below Linux's ephemeral range, so that no outgoing connection takes the port of a part that restarts."""


class PortsTaken(RuntimeError):
    """Fixed ports are in use by something else; the text names them and the way out."""


def free_ports(count: int) -> list[int]:
    """That many different ports on which nothing listens now."""
    found: set[int] = set()
    chooser = random.SystemRandom()
    while len(found) < count:
        candidate = chooser.randint(_LOWEST, _HIGHEST)
        if not in_use(candidate):
            found.add(candidate)
    return list(found)


def in_use(port: int) -> bool:
    """Whether something listens on the port, on loopback or on every address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def fixed(further: Iterable[str] = ()) -> dict[str, int]:
    """The fixed ports, and those of further processes; raises `PortsTaken` when one is in use."""
    chosen = FIXED | {name: _further(name) for name in further}
    ours = {name: port for name, port in chosen.items() if not name.startswith(_NOT_ALWAYS)}
    taken = [f"{port} ({name})" for name, port in ours.items() if in_use(port)]
    if taken:
        raise PortsTaken(
            f"in use by another program: {', '.join(taken)}. Stop it, or start the stack with IMEX_PORTS=auto"
        )
    return chosen


def _further(name: str) -> int:
    service, _, number = name.partition("-")
    return _FURTHER[service] + int(number)


def free(names: Iterable[str] = FIXED, kept: dict[str, int] | None = None) -> dict[str, int]:
    """Free ports for these names; those of `kept` that are still free stay what they were."""
    known = {name: port for name, port in (kept or {}).items() if not in_use(port)}
    missing = [name for name in names if name not in known]
    fresh = free_ports(len(missing) + len(known))
    unused = [port for port in fresh if port not in known.values()]
    return known | dict(zip(missing, unused, strict=False))
