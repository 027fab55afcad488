"""What one field alone cannot show: duplicates, unknown references, and senders that fit two institutions."""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from imex.directory.certificates import URI_PREFIX
from imex.directory.errors import Location, Problem
from imex.directory.findings import CHECKS
from imex.directory.model import Directory, Institution, Sender
from imex.directory.policies import Severity

RESERVED_CODES = frozenset({"IMEX"})
"""Called AE title of the standing rules; as a code it could not be addressed."""

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
EVERYWHERE: tuple[IPNetwork, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


def networks_of(sender: Sender) -> tuple[IPNetwork, ...]:
    """The networks a sender may come from; without any named, all."""
    return tuple(ipaddress.ip_network(network) for network in sender.networks) or EVERYWHERE


def check(directory: Directory) -> Iterator[Problem]:
    """Every finding across fields, found as they are asked for."""
    yield from _codes(directory)
    yield from _endpoint_names(directory)
    yield from _sender_overlaps(directory)
    yield from _duplicates([agreement.id for agreement in directory.agreements], "agreements", "id")
    yield from _duplicates([rule.id for rule in directory.rules], "rules", "id")
    yield from _references(directory)
    yield from _rule_endpoints(directory)
    yield from _validation_checks(directory)
    yield from _reports(directory)


def _reports(directory: Directory) -> Iterator[Problem]:
    for index, institution in enumerate(directory.institutions):
        nodes = {endpoint.name for endpoint in institution.endpoints if endpoint.type == "dicom"}
        for place, sender in enumerate(institution.senders):
            if sender.report_to is not None and sender.report_to not in nodes:
                loc: Location = ("institutions", index, "senders", place, "report_to")
                yield Problem(loc, f"{sender.report_to!r} is no DICOM endpoint of {institution.code}")


def _validation_checks(directory: Directory) -> Iterator[Problem]:
    for index, institution in enumerate(directory.institutions):
        for name, severity in institution.checks.items():
            loc: Location = ("institutions", index, "checks", name)
            if name in CHECKS and CHECKS[name].always_waits and severity is Severity.WARN:
                yield Problem(loc, "cannot be a warning: say quarantine or refuse")
            elif name not in CHECKS:
                near = get_close_matches(name, CHECKS, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(CHECKS))}"
                yield Problem(loc, f"no check is called {name!r}{hint}")


def _duplicates(values: Sequence[str], where: str, field: str) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if value in first:
            yield Problem((where, index, field), f"{value!r} is used twice; first in {where}[{first[value]}]")
        first.setdefault(value, index)


def _codes(directory: Directory) -> Iterator[Problem]:
    taken: dict[str, tuple[str, str]] = {}
    places: list[tuple[Location, str]] = [
        (("institutions", index, "code"), institution.code)
        for index, institution in enumerate(directory.institutions)
    ]
    places += [(("groups", index, "code"), group.code) for index, group in enumerate(directory.groups)]
    for loc, code in places:
        here = f"{loc[0]}[{loc[1]}]"
        if code.upper() in RESERVED_CODES:
            yield Problem(loc, f"{code!r} is reserved: it is the called AE title of the standing rules")
        known = taken.setdefault(code.casefold(), (code, here))
        if known[1] != here:
            alike = "is used twice" if known[0] == code else f"differs from {known[0]!r} in case only"
            yield Problem(loc, f"{code!r} {alike}; first in {known[1]}")


def _endpoint_names(directory: Directory) -> Iterator[Problem]:
    for index, institution in enumerate(directory.institutions):
        names: set[str] = set()
        for place, endpoint in enumerate(institution.endpoints):
            if endpoint.name in names:
                yield Problem(
                    ("institutions", index, "endpoints", place, "name"),
                    f"{endpoint.name!r} is used twice in {institution.code}",
                )
            names.add(endpoint.name)


def _sender_overlaps(directory: Directory) -> Iterator[Problem]:
    by_name: dict[tuple[str, str], list[tuple[Location, Institution, Sender]]] = defaultdict(list)
    by_certificate: dict[str, str] = {}
    for index, institution in enumerate(directory.institutions):
        for place, sender in enumerate(institution.senders):
            loc: Location = ("institutions", index, "senders", place)
            by_name["ae_title", repr(sender.ae_title)].append((loc, institution, sender))
            if sender.hl7 is not None:
                named = f"application {sender.hl7.application!r} of facility {sender.hl7.facility!r}"
                by_name["hl7", named].append((loc, institution, sender))
            if sender.certificate is not None:
                owner = by_certificate.setdefault(sender.certificate, institution.code)
                says = sender.certificate.removeprefix(f"uri:{URI_PREFIX}")
                if says not in {sender.certificate, institution.code}:
                    owner = says
                if owner != institution.code:
                    yield Problem((*loc, "certificate"), f"is the certificate of {owner} too")
    for (part, name), entries in by_name.items():
        for number, other in _overlaps(entries):
            loc, institution, _ = entries[number]
            yield Problem(
                (*loc, part),
                f"{name} with its networks fits {other} and {institution.code}; give each its own networks",
            )


def _overlaps(entries: Sequence[tuple[Location, Institution, Sender]]) -> Iterator[tuple[int, str]]:
    """Entries whose networks meet an earlier institution's, with that institution's code.

    Networks are disjoint or one within the other: in their order, those around the present one are a stack.
    """
    if len({institution.code for _, institution, _ in entries}) == 1:
        return
    spans = sorted(
        (network.version, int(network.network_address), -int(network.broadcast_address), number)
        for number, (_, _, sender) in enumerate(entries)
        for network in networks_of(sender)
    )
    around: list[tuple[int, int, int]] = []
    told: set[int] = set()
    for version, first, negative_last, number in spans:
        while around and (around[-1][0] != version or around[-1][1] < first):
            around.pop()
        for _, _, outer in around:
            one, two = sorted((outer, number))
            if entries[one][1].code != entries[two][1].code and two not in told:
                told.add(two)
                yield two, entries[one][1].code
        around.append((version, -negative_last, number))


def _references(directory: Directory) -> Iterator[Problem]:
    institutions = {institution.code for institution in directory.institutions}
    everyone = institutions | {group.code for group in directory.groups}
    for index, group in enumerate(directory.groups):
        loc: Location = ("groups", index, "members")
        yield from _unknown(loc, group.members, institutions, "institution")
        yield from _repeated(loc, group.members)
    for index, agreement in enumerate(directory.agreements):
        for field, codes in (("from", agreement.from_), ("to", agreement.to)):
            yield from _unknown(("agreements", index, field), codes, everyone, "institution or group")
        for field, codes in (("controllers", agreement.controllers), ("processors", agreement.processors)):
            yield from _unknown(("agreements", index, field), codes, institutions, "institution")
            yield from _repeated(("agreements", index, field), codes)
    for index, rule in enumerate(directory.rules):
        yield from _unknown(("rules", index, "to"), rule.to, everyone, "institution or group")
        yield from _repeated(("rules", index, "to"), rule.to)
        for number, alternate in enumerate(rule.alternates):
            loc = ("rules", index, "alternates", number, "to")
            yield from _unknown(loc, alternate.to, everyone, "institution or group")
            yield from _repeated(loc, alternate.to)
        if rule.match and rule.match.source:
            loc = ("rules", index, "match", "source")
            yield from _unknown(loc, rule.match.source, everyone, "institution or group")


def _unknown(loc: Location, codes: Sequence[str], known: set[str], what: str) -> Iterator[Problem]:
    for index, code in enumerate(codes):
        if code not in known:
            close = get_close_matches(code, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield Problem((*loc, index), f"{code!r} is no {what} of this directory{hint}")


def _repeated(loc: Location, codes: Sequence[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, code in enumerate(codes):
        if code in seen:
            yield Problem((*loc, index), f"{code!r} is named twice")
        seen.add(code)


def _rule_endpoints(directory: Directory) -> Iterator[Problem]:
    endpoints = {
        institution.code: {endpoint.name for endpoint in institution.endpoints}
        for institution in directory.institutions
    }
    members = {group.code: group.members for group in directory.groups}
    for index, rule in enumerate(directory.rules):
        if rule.endpoint is None:
            continue
        recipients: Iterable[str] = {one for code in rule.to for one in members.get(code, (code,))}
        lacking = sorted(one for one in recipients if rule.endpoint not in endpoints.get(one, set()))
        if lacking:
            yield Problem(
                ("rules", index, "endpoint"), f"{rule.endpoint!r} is no endpoint of {', '.join(lacking)}"
            )
