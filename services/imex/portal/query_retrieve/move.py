"""C-MOVE (PS3.4 C.4.2): images go to a DICOM node of the caller's own institution."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final

from imex.dicom.rewriting import rewritable_to
from imex.dimse import (
    Answer,
    Association,
    DimseError,
    Exchange,
    Refused,
    Status,
    StoreResponse,
    open_association,
)
from imex.dimse.command import CommandField
from imex.dimse.operations import MOST_BYTES
from imex.dimse.tls import TlsFilesInvalid
from imex.directory.model import DicomEndpoint
from imex.portal.problems import Problem
from imex.portal.queries import directories
from imex.portal.queries.holdings import HeldInstance
from imex.portal.query_retrieve.payloads import DataSet
from imex.portal.query_retrieve.peer import Surroundings, place_of, refused
from imex.portal.query_retrieve.retrieving import Asking, NoMore, carry_out, meant_by
from imex.portal.scope import Caller

STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
MOST_CONTEXTS: Final = 128
_PART: Final = "c-move"
MOST_REOPENED: Final = 3
"""Associations that are opened anew in one retrieval after one has ended."""

Context = tuple[str, str]


class Moves:
    """Serves Study Root Retrieve (MOVE) on one association (imex.dimse.Service)."""

    operations = frozenset({CommandField.C_MOVE_RQ})
    most_bytes = MOST_BYTES

    def __init__(self, around: Surroundings, caller: Caller) -> None:
        """For one caller."""
        self._around = around
        self._caller = caller

    async def perform(self, exchange: Exchange) -> Answer:
        """Send what is asked for to the node that is named."""
        around, caller = self._around, self._caller
        node = await self._node(exchange.operation.move_destination)
        try:
            with around.retrievals.one(place_of(caller)):
                asking = Asking(around, caller, exchange, _PART)
                meant = await meant_by(asking)
                originator = (caller.label, exchange.operation.message_id)
                there = _There(around, node, proposals(node, meant.contexts), originator)
                try:
                    answer = await carry_out(asking, meant, there)
                except BaseException:
                    there.abort()
                    raise
                await there.release()
                return answer
        except Problem as problem:
            raise refused(problem) from problem

    async def _node(self, ae_title: str) -> DicomEndpoint:
        async with self._around.portal.database.engine.connect() as connection:
            directory = (await directories.in_force(connection)).directory
        for institution in directory.institutions:
            if institution.code == self._caller.institution:
                for endpoint in institution.endpoints:
                    if isinstance(endpoint, DicomEndpoint) and endpoint.ae_title == ae_title:
                        return endpoint
        words = f"no DICOM endpoint of {self._caller.institution} has this AE title"
        raise Refused(Status.MOVE_DESTINATION_UNKNOWN, words)


def proposals(node: DicomEndpoint, stored: Sequence[Context]) -> list[Context]:
    """Contexts to propose, as far as the endpoint takes them: what is stored, then what that can become."""
    accepts = node.accepts
    found = dict.fromkeys(stored)
    found |= dict.fromkeys((of, other) for of, syntax in stored for other in rewritable_to(syntax))
    return [
        (sop_class, syntax)
        for sop_class, syntax in found
        if (accepts.sop_classes is None or sop_class in accepts.sop_classes)
        and (accepts.transfer_syntaxes is None or syntax in accepts.transfer_syntaxes)
    ][:MOST_CONTEXTS]


class _There:
    """To a node, on an association of our own (imex.portal.query_retrieve.retrieving.Carrier)."""

    def __init__(
        self,
        around: Surroundings,
        node: DicomEndpoint,
        contexts: Sequence[Context],
        originator: tuple[str, int],
    ) -> None:
        self._around = around
        self._node = node
        self._contexts = contexts
        self._originator = originator
        self._association: Association | None = None
        self._opened = 0

    async def ready(self) -> None:
        if self._association is not None and self._association.usable:
            return
        if not self._contexts:
            raise NoMore("the endpoint takes none of these images")
        if self._opened > MOST_REOPENED:
            raise NoMore("the destination ends its associations")
        self._opened += 1
        node = self._node
        try:
            self._association = await open_association(
                node.host,
                node.port,
                self._around.ae_title,
                node.ae_title,
                [(sop_class, (syntax,)) for sop_class, syntax in self._contexts],
                tls=self._tls(),
                addresses=self._around.outbound.addresses,
            )
        except DimseError as error:
            raise NoMore(str(error)) from error

    def _tls(self) -> ssl.SSLContext | None:
        if not self._node.tls:
            return None
        if self._around.tls is None:
            raise NoMore("the destination wants TLS, and no certificates are set here")
        try:
            return self._around.tls()
        except TlsFilesInvalid as error:
            raise NoMore("TLS cannot be used: see the log of the portal") from error

    def stores(self, sop_class: str, transfer_syntax: str) -> bool:
        return self._association is not None and self._association.accepts(sop_class, transfer_syntax)

    async def store(self, held: HeldInstance, transfer_syntax: str, data_set: DataSet) -> StoreResponse:
        assert self._association is not None
        return await self._association.store(
            held.sop_class_uid,
            held.sop_instance_uid,
            transfer_syntax,
            data_set.chunks,
            data_set.length,
            move_originator=self._originator,
        )

    async def release(self) -> None:
        """End the association."""
        if self._association is not None:
            await self._association.release()

    def abort(self) -> None:
        """End it at once."""
        if self._association is not None:
            self._association.abort()
