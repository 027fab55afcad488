"""Receipts: what the destination confirmed, with what it never got."""

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.delivery import receipts
from imex.db.tables.routing import corrected_shares, note_deliveries, shares
from imex.portal.queries.veil import unveiled
from imex.portal.scope import Scope


class ReceiptInstance(BaseModel):
    """One instance and what became of it."""

    sop_instance_uid: str
    digest: str | None = Field(description="of the encoded data set; null where it never left quarantine")
    status: str
    reason: str
    at: AwareDatetime | None
    confirmed_by: str | None = Field(
        default=None,
        description="answer | query | commitment: what said that it is at the destination; else left out",
    )
    delivered_digest: str | None = Field(
        default=None, description="of what was sent, where that is not what was received; else left out"
    )
    changes: list[str] | None = Field(
        default=None, description="what was changed on the way out, in words; else left out"
    )
    sent_to: dict[str, str] | None = Field(
        default=None,
        description="endpoint and AE title where it went, if the delivery was rerouted since; else left out",
    )


class Receipt(BaseModel):
    """The newest revision of a share's receipt."""

    share: UUID
    revision: int
    destination: Any
    instances: list[ReceiptInstance]
    complete: bool = Field(description="every instance received is confirmed at the destination")
    signature: str = Field(
        description="Ed25519 JWS (RFC 8037) over the RFC 8785 form of everything else here"
    )


async def of_share(connection: AsyncConnection, scope: Scope, share: UUID) -> dict[str, Any] | None:
    """The newest receipt in the shape of `Receipt`; None when there is none yet or it is not the caller's.

    What delivery signed is passed on value for value, so that its RFC 8785 form can be checked.
    """
    row = (
        await connection.execute(
            select(
                receipts.c.revision,
                receipts.c.document,
                receipts.c.signature,
            )
            .join(shares, shares.c.id == receipts.c.share)
            .where(receipts.c.share == share, unveiled(scope))
            .where(scope.either(shares.c.source, shares.c.recipient))
            # one of a rejection note alone is none of the images'
            .where(~exists().where(corrected_shares.c.delivery == receipts.c.delivery))
            .where(~exists().where(note_deliveries.c.delivery == receipts.c.delivery))
            .order_by(receipts.c.at.desc(), receipts.c.revision.desc())
            .limit(1)
        )
    ).one_or_none()
    if row is None:
        return None
    receipt: dict[str, Any] = {"share": str(share), "revision": row.revision, **row.document}
    return {**receipt, "signature": row.signature}
