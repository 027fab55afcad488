"""PROXY protocol version 2: what is taken, and what is not."""

import ipaddress
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imex.dimse.proxy import BODY_BYTES, HEADER_BYTES, SIGNATURE, ProxyError, body_length, source

IPV4 = bytes([10, 1, 2, 3, 192, 0, 2, 1]) + struct.pack("!HH", 50123, 2762)
IPV6 = ipaddress.ip_address("2001:db8::7").packed + bytes(16) + struct.pack("!HH", 50123, 2762)


def header(version_command: int, family: int, length: int) -> bytes:
    return SIGNATURE + bytes([version_command, family]) + length.to_bytes(2)


@pytest.mark.parametrize(
    ("version_command", "family", "body", "expected"),
    [
        (0x21, 0x11, IPV4, ("10.1.2.3", 50123)),
        (0x21, 0x11, IPV4 + b"\x04\x00\x01x", ("10.1.2.3", 50123)),  # with a type-length-value behind it
        (0x21, 0x21, IPV6, ("2001:db8::7", 50123)),
        (0x20, 0x00, b"", None),  # LOCAL: the balancer itself
        (0x20, 0x11, IPV4, None),
    ],
)
def test_it_says_who_the_peer_is(
    version_command: int, family: int, body: bytes, expected: tuple[str, int] | None
) -> None:
    fixed = header(version_command, family, len(body))
    assert body_length(fixed) == len(body)
    assert source(fixed, body) == expected


@pytest.mark.parametrize(
    ("version_command", "family", "body"),
    [
        (0x11, 0x11, IPV4),  # version 1's number
        (0x31, 0x11, IPV4),
        (0x22, 0x11, IPV4),  # no such command
        (0x21, 0x00, b""),  # PROXY for somebody unknown
        (0x21, 0x12, IPV4),  # UDP
        (0x21, 0x31, bytes(216)),  # a Unix socket
        (0x21, 0x11, IPV4[:-1]),
        (0x21, 0x21, IPV4),
        (0x21, 0x11, IPV4 + bytes(BODY_BYTES)),
    ],
)
def test_anything_else_is_refused(version_command: int, family: int, body: bytes) -> None:
    fixed = header(version_command, family, len(body))
    with pytest.raises(ProxyError):
        source(fixed, body)


def test_a_header_of_another_length_than_it_states_is_refused() -> None:
    with pytest.raises(ProxyError, match="another length"):
        source(header(0x21, 0x11, len(IPV4)), IPV4 + b"x")


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES), st.binary(max_size=64))
@example(SIGNATURE + bytes([0x21, 0x11, 0xFF, 0xFF]), b"")
def test_whatever_comes_is_an_address_or_a_refusal(fixed: bytes, body: bytes) -> None:
    for begin in (fixed, SIGNATURE + fixed[12:]):
        try:
            assert body_length(begin) <= BODY_BYTES
            found = source(begin, body)
        except ProxyError:
            continue
        assert found is None or ipaddress.ip_address(found[0])
