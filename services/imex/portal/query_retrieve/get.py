"""C-GET (PS3.4 C.4.3): images come back on the association that asks for them."""

from __future__ import annotations

from typing import Final

from imex.dimse import Answer, Exchange, StoreResponse
from imex.dimse.command import CommandField
from imex.dimse.operations import MOST_BYTES
from imex.portal.problems import Problem
from imex.portal.queries.holdings import HeldInstance
from imex.portal.query_retrieve.payloads import DataSet
from imex.portal.query_retrieve.peer import Surroundings, place_of, refused
from imex.portal.query_retrieve.retrieving import Asking, carry_out, meant_by
from imex.portal.scope import Caller

STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_PART: Final = "c-get"


class Gets:
    """Serves Study Root Retrieve (GET) on one association (imex.dimse.Service)."""

    operations = frozenset({CommandField.C_GET_RQ})
    most_bytes = MOST_BYTES

    def __init__(self, around: Surroundings, caller: Caller) -> None:
        """For one caller."""
        self._around = around
        self._caller = caller

    async def perform(self, exchange: Exchange) -> Answer:
        """Send what is asked for on the association itself."""
        around, caller = self._around, self._caller
        try:
            with around.retrievals.one(place_of(caller)):
                asking = Asking(around, caller, exchange, _PART)
                return await carry_out(asking, await meant_by(asking), _Back(exchange))
        except Problem as problem:
            raise refused(problem) from problem


class _Back:
    """To whoever asks (imex.portal.query_retrieve.retrieving.Carrier)."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def ready(self) -> None:
        """It is there."""

    def stores(self, sop_class: str, transfer_syntax: str) -> bool:
        return self._exchange.stores(sop_class, transfer_syntax)

    async def store(self, held: HeldInstance, transfer_syntax: str, data_set: DataSet) -> StoreResponse:
        return await self._exchange.store(
            held.sop_class_uid, held.sop_instance_uid, transfer_syntax, data_set.chunks, data_set.length
        )
