"""/keys: what receipts are checked with, for everybody."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select

from imex.db.tables.delivery import signing_keys
from imex.portal.api.access import PortalPart

router = APIRouter(tags=["shares"])


class Keys(BaseModel):
    """A JWK Set (RFC 7517)."""

    keys: list[dict[str, Any]] = Field(description="public Ed25519 keys, the newest first; old ones stay")


@router.get("/keys")
async def get_keys(portal: PortalPart) -> Keys:
    """The public keys that receipts are or were signed with. Takes no token: they are no secret."""
    k = signing_keys.c
    async with portal.database.engine.connect() as connection:
        rows = await connection.execute(select(k.kid, k.jwk).order_by(k.at.desc()))
        return Keys(keys=[{**row.jwk, "kid": row.kid, "use": "sig", "alg": "Ed25519"} for row in rows])
