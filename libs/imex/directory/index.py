"""The directory, indexed once for deciding many times. Everything here is pure."""

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from imex.directory.certificates import CertificateFacts
from imex.directory.checks import IPNetwork, networks_of
from imex.directory.document import digest
from imex.directory.facts import (
    Called,
    IdentifiedSender,
    Recipient,
    Standing,
    StudyFacts,
    UnknownCalled,
    UnknownSender,
    WhyUnknown,
)
from imex.directory.fields import within_hours
from imex.directory.model import (
    Agreement,
    Directory,
    Endpoint,
    Group,
    Hl7Endpoint,
    InboxEndpoint,
    Institution,
    Sender,
    hl7_name,
)
from imex.directory.policies import Priority
from imex.directory.selection import Filed, Selection

LOCAL_TIME = ZoneInfo("Europe/London")
"""In which the directory's dates and hours are meant."""


@lru_cache(maxsize=64)
def local_time(at: datetime) -> datetime:
    """A moment in the directory's local time; one without a zone is taken as UTC.

    The last ones are kept: all that is asked in one decision is asked of the same moment.
    """
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(LOCAL_TIME)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A sender, and whose it is."""

    institution: Institution
    sender: Sender
    networks: tuple[IPNetwork, ...]

    def shown_by(self, certificate: CertificateFacts) -> bool:
        """Whether the sender shows this certificate."""
        named = self.sender.certificate
        if named is not None:
            return certificate.is_named(named)
        return certificate.speaks_for(self.institution.code)


class DirectoryIndex:
    """Look-ups over one version of the directory; immutable, and safe to share between threads."""

    def __init__(self, directory: Directory, version: str | None = None) -> None:
        """``version`` saves computing the digest where it is known."""
        self.directory = directory
        self.institutions: dict[str, Institution] = {one.code: one for one in directory.institutions}
        self.groups: dict[str, Group] = {group.code: group for group in directory.groups}
        self.kept: dict[Hashable, Any] = {}
        """What others derive from this version and keep with it, under keys of their own."""
        self._version = version
        self._endpoints: dict[tuple[str, str | None], Endpoint] = {}
        self._senders: dict[str, list[_Entry]] = defaultdict(list)
        self._hl7: dict[tuple[str, str], list[_Entry]] = defaultdict(list)
        for institution in directory.institutions:
            for endpoint in institution.endpoints:
                self._endpoints.setdefault((institution.code, None), endpoint)
                self._endpoints.setdefault((institution.code, endpoint.name), endpoint)
                if not isinstance(endpoint, InboxEndpoint) and endpoint.hl7:
                    listener = Hl7Endpoint(name=hl7_name(endpoint.name), **dict(endpoint.hl7))
                    self._endpoints[institution.code, listener.name] = listener
            for sender in institution.senders:
                entry = _Entry(institution, sender, networks_of(sender))
                self._senders[sender.ae_title].append(entry)
                if sender.hl7:
                    self._hl7[sender.hl7.application, sender.hl7.facility].append(entry)
        self._spelt: dict[tuple[str, ...], tuple[str, ...]] = {}
        sets: dict[tuple[str, ...], frozenset[str]] = {}
        self._agreements: dict[str, list[tuple[Agreement, frozenset[str]]]] = defaultdict(list)
        for agreement in directory.agreements:
            # thousands of agreements name the same few lists and groups: each is spelt out once
            to = sets.setdefault(agreement.to, frozenset(self._spell(agreement.to)))
            for source in self._spell(agreement.from_):
                self._agreements[source].append((agreement, to))
        self._agreements.default_factory = None
        self._by_id = {agreement.id: agreement for agreement in directory.agreements}
        self._between: dict[tuple[str, str], tuple[Agreement, ...]] = {}
        self._selection = Selection(directory.rules, self._spell)

    @cached_property
    def version(self) -> str:
        """The digest that names this version."""
        return self._version or digest(self.directory)

    def identify_sender(
        self, calling_ae: str, peer_host: str, certificate: CertificateFacts | None = None
    ) -> IdentifiedSender | UnknownSender:
        """Which institution sends under this AE title from this address (an IP address in text).

        With a certificate it is the one that the certificate speaks for, and the AE title has to be its own.
        """
        title = calling_ae.strip(" ")
        return _identified(
            f"calling AE title {title!r}", self._senders.get(title), peer_host, certificate, self
        )

    def identify_hl7_sender(
        self, name: tuple[str, str], peer_host: str, certificate: CertificateFacts | None = None
    ) -> IdentifiedSender | UnknownSender:
        """Which institution sends HL7 under this name, its application and facility; as `identify_sender`."""
        named = f"HL7 application {name[0]!r} of facility {name[1]!r}"
        return _identified(named, self._hl7.get(name), peer_host, certificate, self)

    def institutions_of(self, certificate: CertificateFacts) -> set[str]:
        """Codes of the institutions whose senders show this certificate; empty where it is nobody's."""
        return {
            entry.institution.code
            for entries in self._senders.values()
            for entry in entries
            if entry.shown_by(certificate)
        }

    def resolve_called(self, called_ae: str, own_ae_title: str) -> Called:
        """What a called AE title asks for: the standing rules, a recipient, or nothing known."""
        title = called_ae.strip(" ")
        if title == own_ae_title:
            return Standing()
        if title in self.institutions or title in self.groups:
            return Recipient(title)
        return UnknownCalled(
            title,
            f"called AE title {title!r} is neither {own_ae_title} nor a code of the directory",
        )

    def recipients(self, codes: Collection[str] | str, source: str) -> tuple[str, ...]:
        """Institutions behind codes of institutions and groups, in order, each once, never the source."""
        everyone = self.members((codes,) if isinstance(codes, str) else codes)
        return tuple(code for code in everyone if code != source) if source in everyone else everyone

    def endpoint_for(self, recipient: str, name: str | None = None) -> Endpoint | None:
        """The named endpoint of an institution, or its first; None where there is none."""
        return self._endpoints.get((recipient, name))

    def agreements_between(self, source: str, recipient: str) -> tuple[Agreement, ...]:
        """Agreements under which one institution may send to the other, in the file's order; whatever for."""
        found = self._between.get((source, recipient))
        if found is None:
            ours = self._agreements.get(source, ()) if source != recipient else ()
            found = tuple(agreement for agreement, to in ours if recipient in to)
            if recipient in self.institutions:
                self._between[source, recipient] = found
        return found

    def agreement(self, named: str | None) -> Agreement | None:
        """The agreement of this id; None where there is none."""
        return self._by_id.get(named) if named else None

    def candidates(self, facts: StudyFacts) -> list[Filed]:
        """The rules that could match a study, in the file's order; no other has to be looked at."""
        return self._selection.candidates(facts)

    def hurrying(self, source: str, priority: Priority) -> Iterator[Filed]:
        """Urgent, or emergency, rules that could match a study of this source."""
        return self._selection.hurrying(source, priority)

    def filed(self) -> list[Filed]:
        """Every rule, in the file's order."""
        return self._selection.filed

    def kind_of(self, code: str) -> str:
        """An institution's kind, in its word; empty where there is no such institution."""
        institution = self.institutions.get(code)
        return institution.kind.value if institution else ""

    def members(self, codes: Collection[str]) -> tuple[str, ...]:
        """Institutions behind codes of institutions and groups, in order, each once."""
        named = tuple(codes)
        return self._spelt.get(named) or tuple(
            dict.fromkeys(
                member
                for code in named
                for member in (self.groups[code].members if code in self.groups else (code,))
            )
        )

    def _spell(self, codes: tuple[str, ...]) -> tuple[str, ...]:
        """`members` of codes that the directory itself names, kept."""
        found = self._spelt.get(codes)
        if found is None:
            found = self._spelt[codes] = self.members(codes)
        return found


def _identified(
    named: str,
    entries: Sequence[_Entry] | None,
    peer_host: str,
    certificate: CertificateFacts | None,
    index: DirectoryIndex,
) -> IdentifiedSender | UnknownSender:
    """Which institution of those with this name it is, by certificate and address."""
    if certificate is not None:
        speaks_for = index.institutions_of(certificate)
        if not speaks_for:
            return UnknownSender(
                WhyUnknown.UNKNOWN_CERTIFICATE, "the certificate is no sender's of the directory"
            )
    if not entries:
        return UnknownSender(WhyUnknown.UNKNOWN_AE_TITLE, f"{named} is no sender of the directory")
    if certificate is not None:
        entries = [entry for entry in entries if entry.shown_by(certificate)]
        if not entries:
            return UnknownSender(
                WhyUnknown.OTHER_CERTIFICATE,
                f"{named} may not be used with the certificate of {', '.join(sorted(speaks_for))}",
            )
    address = _address(peer_host)
    found = {
        entry.institution.code: entry.institution
        for entry in entries
        if address is not None and any(address in network for network in entry.networks)
    }
    if not found:
        return UnknownSender(WhyUnknown.WRONG_NETWORK, f"{named} may not come from {peer_host}")
    if len(found) > 1:
        return UnknownSender(
            WhyUnknown.AMBIGUOUS,
            f"{named} from {peer_host} fits {', '.join(sorted(found))}",
        )
    return IdentifiedSender(next(iter(found.values())))


def is_open(endpoint: Endpoint, at: datetime) -> bool:
    """Whether an endpoint may be sent to at this moment."""
    hours = endpoint.accepts.hours
    return hours is None or within_hours(hours, local_time(at).time())


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
