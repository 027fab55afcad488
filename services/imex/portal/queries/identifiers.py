"""Recipients' own identifiers for senders': seen by the recipient and the network's administration only."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db import mappings
from imex.db.tables.delivery import identifiers
from imex.dicom.mapping import Held, Kind, Told, domain
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.scope import Scope


class Identifier(BaseModel):
    """One of a recipient's own identifiers, and the sender's for which it stands."""

    id: UUID
    recipient: str
    kind: Kind
    source: str
    issuer: str
    value: str
    own: str
    name: str
    birth_date: str
    actor: str
    at: AwareDatetime


_COLUMNS = [identifiers.c[name] for name in Identifier.model_fields]


async def listed(
    connection: AsyncConnection,
    scope: Scope,
    *,
    recipient: str | None,
    source: str | None,
    kind: Kind | None,
    limit: int,
    after: str | None = None,
) -> Page[Identifier]:
    """Mappings, the newest first."""
    i = identifiers.c
    query = select(*_COLUMNS).where(scope.own(i.recipient))
    for column, wanted in ((i.recipient, recipient), (i.source, source), (i.kind, kind)):
        if wanted is not None:
            query = query.where(column == wanted)
    if after is not None:
        at, identifier = cursors.moment_and_id(after)
        query = query.where(tuple_(i.at, i.id) < (at, identifier))
    query = query.order_by(i.at.desc(), i.id.desc()).limit(limit + 1)
    found = [Identifier(**row) for row in (await connection.execute(query)).mappings()]
    if len(found) <= limit:
        return Page(items=found, next=None)
    last = found[limit - 1]
    return Page(items=found[:limit], next=cursors.encode(last.at.isoformat(), str(last.id)))


async def get(connection: AsyncConnection, scope: Scope, identifier: UUID) -> Identifier | None:
    """One mapping, if the caller may see it."""
    i = identifiers.c
    query = select(*_COLUMNS).where(i.id == identifier, scope.own(i.recipient))
    row = (await connection.execute(query)).mappings().one_or_none()
    return Identifier(**row) if row is not None else None


async def same(  # noqa: PLR0917  what makes a mapping
    connection: AsyncConnection, scope: Scope, recipient: str, kind: Kind, source: str, told: Told
) -> Identifier | None:
    """The mapping that says just this already."""
    i = identifiers.c
    query = select(*_COLUMNS).where(
        scope.own(i.recipient),
        i.recipient == recipient,
        i.kind == kind,
        i.source == source,
        i.issuer == domain(told.issuer, source),
        i.value == told.value,
        i.own == told.own,
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return Identifier(**row) if row is not None else None


async def beside(
    connection: AsyncConnection, recipient: str, kind: Kind, source: str, told: Told
) -> Sequence[Held]:
    """Mappings that a new one may collide with."""
    rows = await connection.execute(mappings.beside(recipient, kind, source, told.value, told.own))
    return [Held(*row) for row in rows]
