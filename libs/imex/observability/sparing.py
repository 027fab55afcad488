"""Saying what strangers cause a few times only: an operator is to see it, and nobody is to fill the log."""

from time import monotonic
from typing import Final

_PERIOD_S: Final = 10.0
_AT_MOST: Final = 20


class Sparing:
    """True a few times in each period."""

    def __init__(self, at_most: int = _AT_MOST, period_s: float = _PERIOD_S) -> None:
        """Nothing was said yet."""
        self._at_most = at_most
        self._period_s = period_s
        self._since = -period_s
        self._said = 0

    def __call__(self) -> bool:
        """Whether to say it once more."""
        now = monotonic()
        if now - self._since > self._period_s:
            self._since, self._said = now, 0
        self._said += 1
        return self._said <= self._at_most
