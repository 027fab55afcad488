"""Moving dates by whole days: DA and DT (PS3.5 section 6.2). Times of day stay."""

import re
from datetime import date, timedelta
from typing import Final

_DA: Final = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_DT: Final = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d.*|[+-]\d{4})?")


def shifted_date(value: str, days: int) -> str | None:
    """A DA value moved by `days`; None where it is no date."""
    found = _DA.fullmatch(value.strip())
    moved = _moved(found.groups(), days) if found else None
    return moved.strftime("%Y%m%d") if moved else None


def shifted_datetime(value: str, days: int) -> str | None:
    """A DT value moved by `days`, as precise as it was; None where it is none."""
    found = _DT.fullmatch(value.strip())
    if found is None:
        return None
    year, month, day, rest = found.groups()
    moved = _moved((year, month or "01", day or "01"), days)
    if moved is None:
        return None
    told = moved.strftime("%Y%m%d")[: 4 + 2 * bool(month) + 2 * bool(day)]
    return told + (rest or "")


def _moved(parts: tuple[str, ...], days: int) -> date | None:
    try:
        return date(*(int(part) for part in parts)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
