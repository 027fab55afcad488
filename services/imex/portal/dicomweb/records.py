"""What is kept and told when somebody searches or retrieves; put into a unit before anything is shown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal
from uuid import UUID

from imex.db import UnitOfWork
from imex.events.audit import AuditAction
from imex.portal import audit, reading
from imex.portal.queries import shares
from imex.portal.queries.holdings import Amount
from imex.portal.scope import Caller

Study = tuple[str, str]
"""Source and study UID."""
Share = UUID | None
"""None of what is the caller's own, or seen by the administration."""
How = Literal["opened", "downloaded"]
_ACTIONS: Final[dict[How, AuditAction]] = {"opened": "share_viewed", "downloaded": "instances_exported"}


def searched(
    unit: UnitOfWork,
    caller: Caller,
    found: Iterable[Study],
    by: Mapping[Study, UUID],
    how: str = "qido-rs",
) -> None:
    """Each study that an answer names."""
    named = sorted(set(found))
    for source, study_uid in named:
        audit.record(
            unit,
            caller,
            "shares_listed",
            source=source,
            study_uid=study_uid,
            share=by.get((source, study_uid)),
            details={"list": how},
        )
    if not named:
        audit.record(unit, caller, "shares_listed", details={"list": how}, counts={"studies": 0})


async def retrieved(unit: UnitOfWork, caller: Caller, about: Sequence[Amount], how: How, part: str) -> None:
    """Each study something is retrieved of: by which share, and how many images."""
    counts: dict[tuple[str, str, Share], int] = {}
    for one in about:
        key = (one.source, one.study_uid, one.share)
        counts[key] = counts.get(key, 0) + one.images
    for (source, study_uid, share), images in counts.items():
        facts = await shares.get(unit.connection, caller.scope, share) if share is not None else None
        audit.record(
            unit,
            caller,
            _ACTIONS[how],
            source=source,
            study_uid=study_uid,
            recipient=facts.recipient if facts else None,
            share=share,
            purpose=facts.purpose if facts else None,
            legal_basis=facts.legal_basis if facts else None,
            agreement=facts.agreement if facts else None,
            counts={"images": images},
            details={"part": part},
        )
        if share is not None and facts is not None and caller.institution == facts.recipient:
            reading.report(unit, caller, share, (source, study_uid, facts.recipient), how)


def broken_off(
    unit: UnitOfWork, caller: Caller, about: Amount, how: How, part: str, *, images: int, reason: str
) -> None:
    """A retrieval did not come to its end: after how many images, and why."""
    audit.record(
        unit,
        caller,
        _ACTIONS[how],
        source=about.source,
        study_uid=about.study_uid,
        share=about.share,
        outcome="failure",
        reason=f"broken off: {reason}",
        counts={"images": images},
        details={"part": part},
    )
