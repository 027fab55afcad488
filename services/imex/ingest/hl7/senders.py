"""Pure: who a message is from, and to whom."""

import ipaddress
from dataclasses import dataclass

from imex.directory import DirectoryIndex, IdentifiedSender, Recipient, Standing, UnknownCalled, WhyUnknown
from imex.directory.certificates import CertificateFacts
from imex.directory.model import Hl7Name
from imex.hl7.message import Message


@dataclass(frozen=True, slots=True)
class Known:
    """A message of a known sender that is for somebody known."""

    source: str
    ae_title: str
    called: Standing | Recipient


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why it is of nobody, or for nobody: words without the peer's address. `at`: where it says so."""

    words: str
    at: str
    source: str | None = None
    """Who sends it, where only whom it is for is not known."""


def identify(
    index: DirectoryIndex,
    own_name: str,
    message: Message,
    peer_host: str,
    certificate: CertificateFacts | None = None,
) -> Known | Unknown:
    """By MSH-3 and MSH-4, and on the TLS port by the certificate; for whom says MSH-6.

    Without TLS a sender's entry has to say from which networks it comes: a name alone proves nothing.
    """
    name = (message.header.text(3), message.header.text(4))
    sender = index.identify_hl7_sender(name, peer_host, certificate)
    if not isinstance(sender, IdentifiedSender):
        words = sender.words
        if sender.why is WhyUnknown.WRONG_NETWORK:
            words = "this sending application and facility may not come from this address"
        elif sender.why is WhyUnknown.AMBIGUOUS:
            words = "this sending application and facility fit several institutions"
        return Unknown(words, "MSH^1^3")
    institution = sender.institution
    named = Hl7Name(application=name[0], facility=name[1])
    entries = [one for one in institution.senders if one.hl7 == named]
    if certificate is None and not _is_loopback(peer_host) and not all(one.networks for one in entries):
        return Unknown(f"without TLS the directory has to name the networks of {institution.code}", "MSH^1^3")
    called = index.resolve_called(message.header.text(6) or own_name, own_name)
    if isinstance(called, UnknownCalled):
        words = f"receiving facility {called.called_ae!r} is neither {own_name} nor a code of the directory"
        return Unknown(words, "MSH^1^6", institution.code)
    return Known(institution.code, entries[0].ae_title, called)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
