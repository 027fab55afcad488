"""Mappings of identifiers that a new one may collide with, as delivery asks and the portal asks before it."""

from typing import Any

from sqlalchemy import Select, and_, or_, select

from imex.db.tables.delivery import identifiers


def beside(recipient: str, kind: str, source: str, value: str, own: str) -> Select[Any]:
    """Source, issuer, value, own, name and birth date of those with the same value or the same own one."""
    i = identifiers.c
    return select(i.source, i.issuer, i.value, i.own, i.name, i.birth_date).where(
        i.recipient == recipient,
        i.kind == kind,
        or_(i.own == own, and_(i.source == source, i.value == value)),
    )
