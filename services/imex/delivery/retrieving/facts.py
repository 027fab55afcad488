"""What delivery says of retrievals, to routing and to the audit record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from imex.events import ids
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.events.retrievals import (
    RetrievalMatched,
    RetrievalMatchedData,
    RetrievalProgressed,
    RetrievalProgressedData,
    RetrievalState,
)

if TYPE_CHECKING:
    from imex.delivery.retrieving.matching import Tally
    from imex.delivery.retrieving.rows import Done, Found, Job

MOST_WORDS: Final = 1000
_ACTOR: Final = Actor(kind="service", id="delivery")


def matched(job: Job, endpoint: str, studies: Sequence[str]) -> RetrievalMatched:
    """What an archive has; an answer is said once of each order."""
    return RetrievalMatched.of(
        id=ids.derived("retrieval matched", str(job.request), str(job.order), endpoint),
        subject=_subject(job),
        data=RetrievalMatchedData(
            request=job.request,
            order=job.order,
            holder=job.holder,
            endpoint=endpoint,
            studies=tuple(studies),
        ),
    )


def progressed(job: Job, number: int, state: RetrievalState, words: str, tally: Tally) -> RetrievalProgressed:
    """How far it is; `number` counts what is said of the request."""
    return RetrievalProgressed.of(
        id=ids.derived("retrieval progressed", str(job.request), str(number)),
        subject=_subject(job),
        data=RetrievalProgressedData(
            request=job.request,
            order=job.order,
            holder=job.holder,
            state=state,
            reason=words[:MOST_WORDS],
            studies=tally.studies,
            fetched=tally.fetched,
            instances=tally.instances,
            failed=tally.failed_instances,
        ),
    )


def queried(job: Job, endpoint: str, studies: int, *, refused: bool) -> AuditRecorded:
    """An archive of the holder was asked for somebody's studies; who that is the request alone says.

    For the holder: a record that names the requester is the requester's to read, and would tell it whether
    somebody is known there.
    """
    return AuditRecorded.of(
        id=ids.derived("audit", "studies queried", str(job.request), str(job.order), endpoint),
        subject=_subject(job),
        data=AuditRecordedData(
            action="studies_queried",
            outcome="failure" if refused else "success",
            actor=_ACTOR,
            source=job.holder,
            purpose=job.purpose,
            counts={"studies": studies},
            details={"request": str(job.request), "endpoint": endpoint},
        ),
    )


def retrieved(job: Job, study: Found, done: Done) -> AuditRecorded:
    """A study was fetched, or could not be; for the holder, too."""
    failed = done.state == "failed"
    return AuditRecorded.of(
        id=ids.derived("audit", "studies retrieved", str(job.request), str(job.order), study.study_uid),
        subject=f"{job.holder}/{study.study_uid}",
        data=AuditRecordedData(
            action="studies_retrieved",
            outcome="failure" if failed else "success",
            actor=_ACTOR,
            study_uid=study.study_uid,
            source=job.holder,
            purpose=job.purpose,
            reason="; ".join(done.said)[:MOST_WORDS] if failed else "",
            counts={"sent": done.instances, "failed": done.failed},
            details={"request": str(job.request), "endpoint": study.endpoint},
        ),
    )


def _subject(job: Job) -> str:
    return f"request/{job.request}"
