"""What the recipient of a de-identified share must not be shown: how its source knows the study."""

from sqlalchemy import ColumnElement, and_, case, false, func, not_, or_, select

from imex.db.tables.delivery import releases
from imex.db.tables.routing import shares
from imex.portal.scope import Scope


def veiled(scope: Scope) -> ColumnElement[bool]:
    """Whether a row of `shares` is de-identified, and its source is another than the caller's institution.

    What no agreement covered counts too: nobody can say that its recipient may know which study it is.
    """
    if scope.institution is None:
        return false()
    hidden = or_(shares.c.deidentified, shares.c.agreement.is_(None))
    return and_(hidden, shares.c.source != scope.institution)


def unveiled(scope: Scope) -> ColumnElement[bool]:
    """The opposite."""
    return not_(veiled(scope))


def shown_study_uid(scope: Scope) -> ColumnElement[str]:
    """The study UID of a row of `shares` as the caller may know it; empty before anything has left."""
    s, r = shares.c, releases.c
    given = (
        select(r.given_study_uid)
        .where(r.recipient == s.recipient, r.source == s.source, r.study_uid == s.study_uid)
        .limit(1)
        .correlate(shares)
        .scalar_subquery()
    )
    return case((veiled(scope), func.coalesce(given, "")), else_=s.study_uid)
