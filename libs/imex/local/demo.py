"""`make demo`: a study from hospital A to hospital B, and the proof that it arrived."""

from __future__ import annotations

from imex.local.home import Home


def run(home: Home) -> int:
    """Send a new study, follow its share, compare what hospital B holds; 0 when all of it is there unchanged."""
    raise NotImplementedError(home)
