"""Which addresses may be connected to, however they are written and whatever name leads there."""

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.outbound import AddressDenied, Outbound

LINK_LOCAL = ipaddress.IPv4Network("169.254.0.0/16")
INTERNAL = Outbound((LINK_LOCAL, ipaddress.IPv4Network("10.0.0.0/8")))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("192.0.2.7", True),
        ("2001:db8::1", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::a9fe:a9fe", False),
        ("::169.254.169.254", False),
        ("::ffff:0:a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
    ],
)
def test_by_default_only_link_local_addresses_are_denied(address: str, allowed: bool) -> None:
    assert Outbound().allows(address) is allowed


@pytest.mark.parametrize("denied", ["127.0.0.0/8", "::1/128"])
@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_no_address_is_this_machine(address: str, denied: str) -> None:
    assert not Outbound((ipaddress.ip_network(denied),)).allows(address)


@given(st.ip_addresses(v=4))
def test_no_way_of_writing_an_address_leads_around(address: ipaddress.IPv4Address) -> None:
    allowed = not any(address in network for network in INTERNAL.denied)
    number = int(address)
    ways = [
        str(address),
        str(ipaddress.IPv6Address((0xFFFF << 32) | number)),
        str(ipaddress.IPv6Address((0x64FF9B << 96) | number)),
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))),
    ]
    assert [INTERNAL.allows(way) for way in ways] == [allowed] * 4


async def test_a_name_leads_only_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["10.0.0.1", "192.0.2.7", "169.254.169.254", "192.0.2.8"]

    def getaddrinfo(_host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in places]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert await INTERNAL.addresses("pacs.example", 104) == ["192.0.2.7", "192.0.2.8"]
    places.insert(0, "2001:db8::1")
    assert INTERNAL.addresses_now("pacs.example", 104) == ["192.0.2.7", "192.0.2.8", "2001:db8::1"]
    del places[0]
    del places[1], places[-1]
    with pytest.raises(AddressDenied, match=r"10\.0\.0\.1 is in a network to which nothing may be connected"):
        await INTERNAL.addresses("pacs.example", 104)


async def test_a_socket_is_opened_for_what_is_allowed() -> None:
    loop = asyncio.get_running_loop()
    [allowed] = await loop.getaddrinfo("127.0.0.1", 104, type=socket.SOCK_STREAM)
    INTERNAL.open_socket(allowed).close()
    [denied] = await loop.getaddrinfo("10.0.0.1", 104, type=socket.SOCK_STREAM)
    with pytest.raises(AddressDenied):
        INTERNAL.open_socket(denied)
