"""Networks to which nothing is connected, whatever name leads there.

Who edits the directory names the hosts that images are sent to, and who owns a name says where it leads, at
any moment. So the addresses are checked that a connection is about to be made to, and the connection is made
to what was checked.
"""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ALWAYS_DENIED: Final[tuple[Network, ...]] = (
    ipaddress.IPv4Network("169.254.0.0/16"),
    ipaddress.IPv6Network("fe80::/10"),
    ipaddress.IPv6Network("fd00:ec2::254/128"),
)
"""Link-local addresses (RFC 3927, RFC 4291), where clouds answer with a machine's credentials."""
_WITH_IPV4_LAST: Final = tuple(
    ipaddress.IPv6Network(one) for one in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")
)
"""NAT64 (RFC 6052, RFC 8215), IPv4-compatible (RFC 4291 2.5.5.1) and IPv4-translated (RFC 2765)."""
_6TO4: Final = ipaddress.IPv6Network("2002::/16")


class AddressDenied(OSError):
    """A name leads only to addresses to which nothing may be connected; `strerror` says so."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """What may be connected to. `setting` is named to people who meet a refusal."""

    denied: tuple[Network, ...] = ALWAYS_DENIED
    setting: str = "IMEX_OUTBOUND_DENIED_NETWORKS"

    def allows(self, address: str) -> bool:
        """Whether an address, as a resolver gives it, may be connected to."""
        found = ipaddress.ip_address(address.partition("%")[0])
        return not any(one in network for one in _meant(found) for network in self.denied)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where a name leads, and a connection may go.

        Raises:
            AddressDenied: nowhere else than where none may go.
            socket.gaierror, UnicodeError: the name leads nowhere.
        """
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return self._allowed(found)

    def addresses_now(self, host: str, port: int) -> list[str]:
        """The same, for threads: it blocks. Those of IPv4 come first, for who tries no more than one."""
        found = self._allowed(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        return sorted(found, key=lambda one: ":" in one)

    def open_socket(self, found: tuple[Any, ...]) -> socket.socket:
        """A socket for an address, as `getaddrinfo` gives it, to which it is then connected.

        Raises:
            AddressDenied: none may be connected there.
        """
        family, kind, protocol, _, place = found
        if not self.allows(str(place[0])):
            raise self._refused([str(place[0])])
        return socket.socket(family, kind, protocol)

    def _allowed(self, found: Sequence[tuple[Any, ...]]) -> list[str]:
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        allowed = [one for one in addresses if self.allows(one)]
        if not allowed:
            raise self._refused(addresses)
        return allowed

    def _refused(self, addresses: Sequence[str]) -> AddressDenied:
        words = f"{addresses[0]} is in a network to which nothing may be connected ({self.setting})"
        return AddressDenied(errno.EACCES, words)


def _meant(address: Address) -> list[Address]:
    """The address, and the one of IPv4 that it stands for where it does."""
    meant = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            meant.append(address.ipv4_mapped)
        if any(address in network for network in _WITH_IPV4_LAST):
            meant.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address in _6TO4 and address.sixtofour is not None:
            meant.append(address.sixtofour)
    if any(one.is_unspecified for one in meant):  # systems connect it to themselves
        meant += [ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1")]
    return meant
