"""Receipts: what the destination confirmed, with what it never got."""

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.delivery import receipts
from imex.db.tables.routing import held, shares
from imex.portal.scope import Scope

_HELD_STATUS = {"waiting": "held", "discarded": "discarded"}


class ReceiptInstance(BaseModel):
    """One instance and what became of it."""

    sop_instance_uid: str
    digest: str | None = Field(description="of the encoded data set; null where it never left quarantine")
    status: str
    reason: str
    at: AwareDatetime | None


class Receipt(BaseModel):
    """The newest revision of a share's receipt."""

    share: UUID
    revision: int
    destination: Any
    instances: list[ReceiptInstance]
    complete: bool = Field(description="every instance received is confirmed at the destination")
    signature: str = Field(
        description="Ed25519 JWS (RFC 8037) over the RFC 8785 form of what delivery signed. Held and "
        "discarded instances, which delivery never had, are listed beside it"
    )


async def of_share(connection: AsyncConnection, scope: Scope, share: UUID) -> dict[str, Any] | None:
    """The newest receipt in the shape of `Receipt`; None when there is none yet or it is not the caller's.

    What delivery signed is passed on value for value, so that its RFC 8785 form can be checked. Only
    instances that delivery never had, because they wait in quarantine or were discarded, are added.
    """
    row = (
        await connection.execute(
            select(
                receipts.c.revision,
                receipts.c.document,
                receipts.c.signature,
                shares.c.source,
                shares.c.study_uid,
            )
            .join(shares, shares.c.id == receipts.c.share)
            .where(receipts.c.share == share, scope.either(shares.c.source, shares.c.recipient))
            .order_by(receipts.c.at.desc(), receipts.c.revision.desc())
            .limit(1)
        )
    ).one_or_none()
    if row is None:
        return None
    receipt: dict[str, Any] = {"share": str(share), "revision": row.revision, **row.document}
    missing = await _held(connection, row.source, row.study_uid)
    if missing:
        receipt["instances"] = [*receipt.get("instances", []), *missing]
        receipt["complete"] = False
    return {**receipt, "signature": row.signature}


async def _held(connection: AsyncConnection, source: str, study_uid: str) -> list[dict[str, Any]]:
    h = held.c
    rows = await connection.execute(
        select(h.sop_instance_uid, h.state, h.reason, h.received_at, h.decided_at)
        .where(h.source == source, h.study_uid == study_uid, h.state != "released")
        .order_by(h.received_at, h.quarantine)
    )
    return [
        ReceiptInstance(
            sop_instance_uid=found.sop_instance_uid,
            digest=None,
            status=_HELD_STATUS.get(found.state, found.state),
            reason=found.reason,
            at=found.decided_at or found.received_at,
        ).model_dump(mode="json")
        for found in rows
    ]
