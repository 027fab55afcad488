"""What a handler may raise to say what should become of a record."""

from datetime import datetime

from imex.storage.port import StoreFull, StoreUnavailable


class Transient(Exception):
    """Something that will pass, such as a dependency that is away: try again, for ever."""


class BrokerUnavailable(Transient):
    """Kafka did not acknowledge within the bound. The record may still arrive later."""


class Poison(Exception):
    """This record can never be handled. `reason` goes to people and headers: no patient data."""

    def __init__(self, reason: str) -> None:
        """`reason` in words."""
        super().__init__(reason)
        self.reason = reason


class Park(Exception):
    """Not before `until`: set the record aside, and later records of its key behind it."""

    def __init__(self, until: datetime, reason: str) -> None:
        """`until` with a zone; `reason` in words without patient data."""
        super().__init__(reason)
        self.until = until
        self.reason = reason


class Halted(Exception):
    """The circuit breaker is open: too many dead letters in a row."""


_AWAY: tuple[type[BaseException], ...] = (
    Transient,
    ConnectionError,
    TimeoutError,
    StoreUnavailable,
    StoreFull,
)


def is_transient(error: BaseException, extra: tuple[type[BaseException], ...] = ()) -> bool:
    """Whether the same work may succeed later with nothing changed here.

    That is a database, object store or broker that is away, a lost connection or a time-out. `extra` are
    further kinds that a service counts so.
    """
    from imex.db.outages import is_outage  # the database's driver, which not every service has

    return isinstance(error, (*_AWAY, *extra)) or is_outage(error)


def safe_reason(error: BaseException) -> str:
    """Words for headers and logs. Only `Poison` speaks for itself: any other text may quote a payload."""
    return error.reason if isinstance(error, Poison) else f"unexpected {type(error).__name__}"
