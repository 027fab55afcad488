"""Telling a database that is away from a statement that is wrong."""

import psycopg
from sqlalchemy import exc


def is_outage(error: BaseException) -> bool:
    """Whether the same statement may succeed later: connection lost, refused or out of slots, deadlock,
    serialisation failure (SQLSTATE classes 08, 40, 53, 57: psycopg's OperationalError)."""
    match error:
        case psycopg.OperationalError() | exc.OperationalError() | exc.TimeoutError():
            return True
        case exc.DBAPIError():
            return error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError)
    return False
