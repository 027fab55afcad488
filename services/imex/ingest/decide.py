"""Pure decisions: who may come in, what may be stored, and which lane and key it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from imex import directory
from imex.dicom import Header, valid_uid
from imex.directory import (
    DIRECT_CARE,
    Called,
    DirectoryIndex,
    IdentifiedSender,
    Recipient,
    Standing,
    UnknownCalled,
    WhyUnknown,
    covering_agreement,
    lane,
)
from imex.directory.certificates import CertificateFacts
from imex.events import Lane


@dataclass(frozen=True, slots=True)
class Admitted:
    """A known sender that asks for something known."""

    source: str
    called: Standing | Recipient


@dataclass(frozen=True, slots=True)
class Turned:
    """An association that is rejected: which AE title is to blame, and why, without the peer's address."""

    at_fault: Literal["calling", "called"]
    words: str


def admit(  # noqa: PLR0917  what an association request states, in its order
    index: DirectoryIndex,
    own_ae_title: str,
    calling_ae: str,
    called_ae: str,
    peer_host: str,
    certificate: CertificateFacts | None = None,
) -> Admitted | Turned:
    """Whether a peer may have an association. More than one institution that fits is nobody.

    With a certificate (the TLS port) that says which institution it is.
    """
    sender = index.identify_sender(calling_ae, peer_host, certificate)
    if not isinstance(sender, IdentifiedSender):
        words = sender.words
        if sender.why is WhyUnknown.WRONG_NETWORK:
            words = f"calling AE title {calling_ae.strip()!r} may not come from this address"
        elif sender.why is WhyUnknown.AMBIGUOUS:
            words = f"calling AE title {calling_ae.strip()!r} from this address fits several institutions"
        return Turned("calling", words)
    called = index.resolve_called(called_ae, own_ae_title)
    if isinstance(called, UnknownCalled):
        return Turned("called", called.words)
    return Admitted(sender.institution.code, called)


def refusal(index: DirectoryIndex, source: str, called: Called, at: datetime) -> str | None:
    """Why nothing may be stored for this recipient: the words contain "agreement"; None where it may.

    A group is open when an agreement covers one of its members; routing decides for each of them. Standing
    rules are not judged here.
    """
    if not isinstance(called, Recipient):
        return None
    recipients = index.recipients(called.code, source)
    if not recipients:
        return f"no agreement covers {source} to itself"
    words = ""
    for recipient in recipients:
        coverage = covering_agreement(index, source, recipient, DIRECT_CARE, at)
        if coverage.agreement is not None:
            return None
        words = words or coverage.words
    return words


def study_of(header: Header, association: UUID) -> str:
    """The study that an instance's events are keyed by.

    One without a usable Study Instance UID gets a stand-in of its own for the association: SUCCESS means
    safe, and what cannot be read waits in quarantine.
    """
    uid = header.elements.study_uid
    return uid if valid_uid(uid) else f"unknown/{association}"


def is_retrieved(move_originator: str | None, own_ae_title: str) -> bool:
    """Whether an archive sends because Imex asked it to: a sub-operation of a C-MOVE (PS3.4 C.4.2.2.1)."""
    return (move_originator or "").strip() == own_ae_title


def lane_of(index: DirectoryIndex, source: str, called: Called, header: Header, sop_class: str) -> Lane:
    """The lane that a study's first instance takes."""
    chosen = lane(
        index,
        source,
        called,
        header.elements.modality or None,
        description=header.identity.study_description or None,
        body_part=header.elements.body_part or None,
        sop_class=sop_class,
    )
    return _LANES[chosen]


_LANES: Mapping[directory.Lane, Lane] = {
    directory.Lane.EXPRESS: "express",
    directory.Lane.URGENT: "urgent",
    directory.Lane.BULK: "bulk",
}
