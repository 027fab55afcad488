"""Who has a connection: known senders as long as they like, strangers few and not for long. Pure."""

import ipaddress
from collections.abc import Callable
from typing import Final

STRANGERS_S: Final = 30.0
"""Seconds that who has not said who it is may be silent."""
_SHARE: Final = 4
"""Strangers of one address have at most this part of the connections."""


class Place:
    """Of one connection."""

    def __init__(self, network: str) -> None:
        self.network = network
        self.known = False
        """Whether it has said who it is."""
        self.end: Callable[[], object] = lambda: None
        """Ends the connection, where another gets its place."""


class Places:
    """Gives out the places. Of strangers the newest is let in and the one that came first has to go."""

    def __init__(self, most: int) -> None:
        """`most`: connections at a time."""
        self._most = most
        self._of_one_network = max(1, most // _SHARE)
        self._taken: dict[Place, None] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, host: str) -> Place | None:
        """A place for a connection from an address; None where known senders have them all."""
        place = Place(_network(host))
        strangers = [one for one in self._taken if not one.known]
        near = [one for one in strangers if one.network == place.network]
        if len(near) >= self._of_one_network:
            self._send_away(near[0])
        elif len(self) >= self._most:
            if not strangers:
                return None
            self._send_away(strangers[0])
        self._taken[place] = None
        return place

    def leave(self, place: Place) -> None:
        """Its connection has ended."""
        self._taken.pop(place, None)

    def _send_away(self, place: Place) -> None:
        self.leave(place)
        place.end()


def _network(host: str) -> str:
    """What one peer can choose its addresses from: of IPv6 the first 64 bits."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)
