"""Orders of routing to rows; nothing is asked from here."""

from sqlalchemy import delete, func, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.delivery import retrieval_studies, retrievals
from imex.events.retrievals import (
    RetrievalOrdered,
    RetrievalOrderedData,
    RetrievalWithdrawn,
    RetrievalWithdrawnData,
)

Order = RetrievalOrdered | RetrievalWithdrawn


async def obey(unit: UnitOfWork, event: Order) -> None:
    """Begin a retrieval, begin it anew, or end it; what an earlier order says counts no more."""
    match event:
        case RetrievalOrdered(data=data):
            await _order(unit, data)
        case RetrievalWithdrawn(data=data):
            await _withdraw(unit, data)


async def _order(unit: UnitOfWork, data: RetrievalOrderedData) -> None:
    t = retrievals.c
    values = {
        "order_number": data.order,
        "holder": data.holder,
        "requester": data.requester,
        "purpose": data.purpose,
        "endpoints": list(data.endpoints),
        "asked": {},
        "wanted": data.wanted.model_dump(),
        "modality": data.modality,
        "studied_from": data.studied_from,
        "studied_until": data.studied_until,
        "modalities": None if data.modalities is None else list(data.modalities),
        "most": data.most,
        "held": {one.study_uid: one.instances for one in data.held},
        "priority": data.priority,
        "state": "waiting",
        "outcome": None,
        "said": [],
        "failures": 0,
        "failing_since": None,
        "next_attempt_at": func.now(),
        "leased_by": None,
        "lease_until": None,
        "expires_at": data.expires_at,
    }
    written = await unit.connection.execute(
        insert(retrievals)
        .values(id=data.request, **values)
        .on_conflict_do_update(index_elements=["id"], set_=values, where=t.order_number < data.order)
        .returning(t.id)
    )
    if written.first() is not None:
        # what could not be fetched is found again, or is not there any more
        s = retrieval_studies.c
        await unit.connection.execute(
            delete(retrieval_studies).where(s.request == data.request, s.state.in_(("waiting", "failed")))
        )


async def _withdraw(unit: UnitOfWork, data: RetrievalWithdrawnData) -> None:
    """One that runs is stopped by its worker, which finds its lease gone."""
    t = retrievals.c
    await unit.connection.execute(
        update(retrievals)
        .where(t.id == data.request, t.order_number <= data.order, t.state != "ended")
        .values(state="ended", outcome="withdrawn", wanted=None, leased_by=None, next_attempt_at=None)
    )
