"""Where a study has been: what keeps it from going round in circles. Pure."""

from collections import defaultdict
from collections.abc import Iterable

Leg = tuple[str, str]
"""A source, and a recipient to which something of the study was handed over or delivered."""


def passed_through(source: str, legs: Iterable[Leg]) -> frozenset[str]:
    """Institutions from which a study came to ``source`` through Imex, over any number of legs.

    ``legs`` are those of one Study Instance UID, whoever was its source. With A to B and B to C, what C sends
    has passed through A and B.
    """
    before: dict[str, set[str]] = defaultdict(set)
    for sender, recipient in legs:
        before[recipient].add(sender)
    found: set[str] = set()
    waiting = [source]
    while waiting:
        for sender in before.get(waiting.pop(), ()):
            if sender not in found:
                found.add(sender)
                waiting.append(sender)
    return frozenset(found - {source})
