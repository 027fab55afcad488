"""PostgreSQL: engine, unit of work, outbox order, migrations."""

from imex.db.engine import Database
from imex.db.outages import is_outage
from imex.db.unit import UnitOfWork

__all__ = ["Database", "UnitOfWork", "is_outage"]
