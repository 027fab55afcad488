"""How long a study's payloads are needed. Pure."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Literal

from imex.directory.policies import LEGAL_DUTIES
from imex.routing.states import SETTLED_STATES
from imex.routing.studies import STUDY_KEPT
from imex.sharing.model import Share, Study

_ARRIVED = frozenset({"delivered", "partial"})


def holds(retain: int | Literal["hold"] | None, purpose: str) -> bool:
    """Whether a share keeps payloads until a person says so: its agreement does, or the law's purpose."""
    return retain == "hold" or (retain is None and purpose in LEGAL_DUTIES)


def kept_until(
    study: Study, shares: Collection[Share], *, on_hold: bool, usual: timedelta
) -> datetime | None:
    """Until when payloads of the study are needed; None while that cannot be said.

    That is while something of it is under way, waits for a person, is in dispute, or is held. `on_hold`: the
    study itself is under legal hold; `usual`: how long after the end of a share, where no agreement says.
    What did not arrive can be shared again as long as a study waits for a recipient.
    """
    if on_hold or study.waiting or study.disputed > study.recalled:
        return None
    open_ = [share for share in shares if share.disposed_at is None]
    if not all(share.state in SETTLED_STATES for share in open_):
        return None
    ends = []
    for share in open_:
        if share.state not in _ARRIVED:
            ends.append(share.updated_at + STUDY_KEPT)
        elif share.legal_hold:
            if study.hold_lifted_at is None:
                return None
            ends.append(max(share.updated_at, study.hold_lifted_at) + usual)
        else:
            promised = usual if share.retain_days is None else timedelta(days=share.retain_days)
            ends.append(share.updated_at + promised)
    if not open_:
        # since it was heard of for the last time nothing has addressed it
        return study.expired_at
    return max(ends)
