"""Who may have an association for queries and retrievals, and what for (imex.dimse.AcceptorPolicy)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol
from uuid import uuid4

import structlog

from imex.dicom.rewriting import EXPLICIT, IMPLICIT
from imex.dimse import (
    Accept,
    AssociationRequest,
    Ended,
    Reject,
    Service,
    Status,
    StoreCommand,
    StoreResponse,
    Terms,
)
from imex.dimse.items import ProposedContext
from imex.dimse.sop_classes import is_storage
from imex.directory import DirectoryIndex, UnknownSender, WhyUnknown
from imex.directory.certificates import CertificateFacts, CertificateUnreadable, facts_of
from imex.directory.model import Institution
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.observability.sparing import Sparing
from imex.portal.context import Portal
from imex.portal.queries import directories
from imex.portal.query_retrieve.find import STUDY_ROOT_FIND, Finds
from imex.portal.query_retrieve.get import STUDY_ROOT_GET, Gets
from imex.portal.query_retrieve.meters import Measured, Meters
from imex.portal.query_retrieve.move import STUDY_ROOT_MOVE, Moves
from imex.portal.query_retrieve.peer import Surroundings, caller_of

log = structlog.get_logger(__name__)

_AE_CHARS: Final = 16
_RECORDED, _RECORDED_S = 200, 10.0
"""Of those turned away so many are kept in so many seconds: a flood of them is not to fill the database."""
_WORDS: Final = 256


class Offer(Protocol):
    """Something that the listener serves."""

    def services(self, institution: Institution, calling_ae: str, called_ae: str) -> Mapping[str, Service]:
        """By abstract syntax, for one association of a node that has been identified."""


class QueryRetrieve:
    """The Study Root model for everybody who is known: what is found is what the institution may have."""

    def __init__(self, around: Surroundings) -> None:
        """Shared by all associations."""
        self._around = around

    def services(self, institution: Institution, calling_ae: str, called_ae: str) -> Mapping[str, Service]:
        """See Offer."""
        caller = caller_of(institution, calling_ae)
        return {
            STUDY_ROOT_FIND: Finds(self._around, caller),
            STUDY_ROOT_MOVE: Moves(self._around, caller),
            STUDY_ROOT_GET: Gets(self._around, caller),
        }


class PullPolicy:
    """Lets known nodes in: by certificate, and on the plain port by AE title and network."""

    def __init__(
        self,
        portal: Portal,
        ae_title: str,
        offers: Sequence[Offer],
        institution_associations: int,
        meters: Meters,
    ) -> None:
        """`ae_title` is Imex's own."""
        self._meters = meters
        self._portal = portal
        self._ae_title = ae_title
        self._offers = offers
        self._most = institution_associations
        self._open: Counter[str] = Counter()
        self._index: DirectoryIndex | None = None
        self._indexing = asyncio.Lock()
        self._recorded = Sparing(_RECORDED, _RECORDED_S)

    async def admit(self, request: AssociationRequest) -> Accept | Reject:
        """Decide from the directory as it is now."""
        index = await self._directory()
        certificate = None
        if request.peer_certificate is not None:
            try:
                certificate = facts_of(request.peer_certificate)
            except CertificateUnreadable as error:
                return await self._turned(request, Reject.calling_ae_not_recognised(str(error)))
        found = identified(index, request, certificate, anywhere=self._portal.settings.local)
        if isinstance(found, str):
            return await self._turned(request, Reject.calling_ae_not_recognised(found))
        if request.called_ae.strip(" ") != self._ae_title:
            words = f"called AE title {request.called_ae.strip(' ')!r} is not {self._ae_title}"
            return await self._turned(request, Reject.called_ae_not_recognised(words))
        if self._open[found.code] >= self._most:
            return Reject.local_limit_exceeded(f"{found.code}: limit of associations")
        services: dict[str, Service] = {}
        for offer in self._offers:
            offered = offer.services(found, request.calling_ae, request.called_ae)
            services |= {of: Measured(service, self._meters) for of, service in offered.items()}
        self._open[found.code] += 1
        log.info("association accepted", institution=found.code, calling_ae=request.calling_ae)
        terms = Terms(storage=False, services=services, returns=True, transfer_syntax=favoured)
        return Accept(_Handler(self, found.code), terms=terms)

    def left(self, institution: str, outcome: Ended) -> None:
        """One of an institution's associations has ended."""
        self._open[institution] -= 1
        self._meters.ended(outcome.kind)

    async def _directory(self) -> DirectoryIndex:
        async with self._portal.database.engine.connect() as connection:
            applied = await directories.in_force(connection)
        async with self._indexing:
            if self._index is None or self._index.version != applied.version:
                # off the loop: a national directory takes a while
                self._index = await asyncio.to_thread(DirectoryIndex, applied.directory, applied.version)
            return self._index

    async def _turned(self, request: AssociationRequest, reject: Reject) -> Reject:
        """Kept: somebody has tried."""
        attempt = uuid4()
        calling_ae, called_ae = (_clean(ae) for ae in (request.calling_ae, request.called_ae))
        log.info(
            "association rejected",
            calling_ae=calling_ae,
            called_ae=called_ae,
            peer=request.peer_host,
            reason=reject.words,
        )
        if not self._recorded():
            return reject
        async with self._portal.database.unit() as unit:
            unit.publish(
                AuditRecorded.of(
                    id=uuid4(),
                    subject=f"association/{attempt}",
                    data=AuditRecordedData(
                        action="association_rejected",
                        outcome="refused",
                        actor=Actor(kind="unknown", id=calling_ae),
                        reason=_clean(reject.words, _WORDS),
                        details={"calling_ae": calling_ae, "called_ae": called_ae, "for": "queries"},
                        personal={"address": request.peer_host},
                    ),
                )
            )
        return reject


def identified(
    index: DirectoryIndex,
    request: AssociationRequest,
    certificate: CertificateFacts | None,
    *,
    anywhere: bool,
) -> Institution | str:
    """The institution that asks, or why nobody is known here, in words.

    Without TLS an address has to vouch for the AE title, which anybody can use: a sender without networks
    may send, but sees nothing, unless `anywhere` says otherwise (on a local stack).
    """
    found = index.identify_sender(request.calling_ae, request.peer_host, certificate)
    title = request.calling_ae.strip(" ")
    if isinstance(found, UnknownSender):
        # an address may be a person's: audit records have a place of its own for it
        if found.why is WhyUnknown.WRONG_NETWORK:
            return f"calling AE title {title!r} may not come from this address"
        if found.why is WhyUnknown.AMBIGUOUS:
            return f"calling AE title {title!r} from this address fits several institutions"
        return found.words
    entries = [sender for sender in found.institution.senders if sender.ae_title == title]
    if certificate is None and not anywhere and not all(one.networks for one in entries):
        return f"calling AE title {title!r} has no networks in the directory, and this port has no TLS"
    return found.institution


def favoured(context: ProposedContext) -> str | None:
    """The transfer syntax of a context; of several the one that most images can be had in.

    Uncompressed ones are rewritten into each other. Who wants compressed images as they are stored proposes
    each transfer syntax in a context of its own.
    """
    offered = context.transfer_syntaxes
    for one in (EXPLICIT, IMPLICIT):
        if one in offered:
            return one
    return offered[0] if is_storage(context.abstract_syntax) else None


def _clean(text: str, most: int = _AE_CHARS) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.strip(" "))[:most]


class _Handler:
    """Of one association; what is asked on it goes to its services (imex.dimse.AssociationHandler)."""

    def __init__(self, policy: PullPolicy, institution: str) -> None:
        self._policy = policy
        self._institution = institution

    async def store(self, command: StoreCommand) -> StoreResponse:
        """Nothing is taken here."""
        return StoreResponse(Status.SOP_CLASS_NOT_SUPPORTED, "images are sent to another port of Imex")

    async def echo(self) -> int:
        """C-ECHO."""
        return Status.SUCCESS

    async def ended(self, outcome: Ended) -> None:
        """Its place is free."""
        self._policy.left(self._institution, outcome)
        log.info(
            "association ended", institution=self._institution, outcome=outcome.kind, reason=outcome.reason
        )
