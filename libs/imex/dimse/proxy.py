"""PROXY protocol version 2 (HAProxy, "The PROXY protocol", 2.2): whom a load balancer speaks for.

Pure: `body_length` looks at the fixed 16 bytes, `source` at the whole header. Both raise ProxyError.
"""

import ipaddress
import struct
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
HEADER_BYTES: Final = 16
BODY_BYTES: Final = 4096
"""Longest body that is taken: addresses have 36 bytes at most, what follows them is not read here."""

_VERSION: Final = 2
_LOCAL: Final = 0
_PROXY: Final = 1
_TCP_OVER_IPV4: Final = 0x11
_TCP_OVER_IPV6: Final = 0x21
_IPV4 = struct.Struct("!4s4sHH")
_IPV6 = struct.Struct("!16s16sHH")


class ProxyError(Exception):
    """What came is no PROXY header of version 2 for a TCP connection; the words hold nothing of it."""


def body_length(header: bytes) -> int:
    """How many bytes follow the fixed 16."""
    if len(header) != HEADER_BYTES or not header.startswith(SIGNATURE):
        raise ProxyError("no PROXY header of version 2")
    version, command = header[12] >> 4, header[12] & 0x0F
    if version != _VERSION or command not in {_LOCAL, _PROXY}:
        raise ProxyError(f"PROXY header of version {version}, command {command}")
    length = int.from_bytes(header[14:16])
    if length > BODY_BYTES:
        raise ProxyError(f"PROXY header of {length} bytes")
    return length


def source(header: bytes, body: bytes) -> tuple[str, int] | None:
    """The address and port that the connection comes from; None where the balancer speaks for itself."""
    if body_length(header) != len(body):
        raise ProxyError("PROXY header of another length than it states")
    if header[12] & 0x0F == _LOCAL:
        return None
    family = header[13]
    if family == _TCP_OVER_IPV4 and len(body) >= _IPV4.size:
        address, _, port, _ = _IPV4.unpack_from(body)
    elif family == _TCP_OVER_IPV6 and len(body) >= _IPV6.size:
        address, _, port, _ = _IPV6.unpack_from(body)
    else:
        raise ProxyError(f"PROXY header without a TCP address (family {family:02X})")
    return str(ipaddress.ip_address(address)), port
