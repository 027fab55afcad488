"""One association: which studies it carries, and what is said of them at its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import structlog

from imex.dimse import Ended
from imex.events import Lane
from imex.events.audit import Actor, AuditAction, AuditRecorded, AuditRecordedData
from imex.events.ids import caused_id, root_traceparent, trace_id_hex
from imex.events.instances import AssociationEnded, AssociationEndedData
from imex.ingest.ports import Span, Surroundings
from imex.ingest.received import Origin

log = structlog.get_logger(__name__)

Outcome = Literal["released", "aborted", "lost", "timed out"]


class TooManyStudies(Exception):
    """One association carries more studies than are kept in memory for it."""


@dataclass(slots=True)
class Study:
    """What one association brought of one study."""

    lane: Lane | None = None
    span: Span | None = None
    received: int = 0
    refused: int = 0
    denied: str = ""
    """Why it may not be stored, in the words of the answer."""

    @property
    def traceparent(self) -> str:
        """Of this study's span; empty where there is none."""
        return self.span.traceparent if self.span else ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end: its address, and what else audit records say of how it came."""

    host: str
    details: Mapping[str, str] = field(default_factory=dict)


class Carried:
    """The studies of one association."""

    def __init__(self, around: Surroundings, origin: Origin, peer: Peer, started_at: datetime) -> None:
        self._around = around
        self._origin = origin
        self._peer = peer
        self._started_at = started_at
        self._studies: dict[str, Study] = {}

    def study(self, study_uid: str, lane: Lane) -> Study:
        """A study one of whose instances is about to be published, with its span begun.

        Raises TooManyStudies beyond the bound.
        """
        if study_uid not in self._studies and len(self._studies) >= self._around.tuning.studies:
            raise TooManyStudies
        found = self._tally(study_uid)
        if found.lane is None:
            found.lane = lane
            found.span = self._around.spans.association(
                self._origin.source, study_uid, self._origin.association, self._started_at
            )
        return found

    def received(self, study_uid: str) -> None:
        """An instance was answered with SUCCESS."""
        self._tally(study_uid).received += 1

    def refused(self, study_uid: str) -> None:
        """An instance was answered with a failure that is ours."""
        self._tally(study_uid).refused += 1

    def denied(self, study_uid: str, words: str) -> None:
        """An instance was answered with a failure for want of an agreement."""
        study = self._tally(study_uid)
        study.refused += 1
        study.denied = words

    def _tally(self, study_uid: str) -> Study:
        """The counts of a study; beyond the bound, what was refused is counted together."""
        found = self._studies.get(study_uid)
        if found is None:
            full = len(self._studies) >= self._around.tuning.studies
            key = f"unknown/{self._origin.association}" if full else study_uid
            found = self._studies.setdefault(key, Study())
        return found

    def end(self, ended: Ended) -> None:
        """Publish what is to be said of each study: its end of association, its audit records, its span."""
        outcome: Outcome = "timed out" if ended.kind == "timeout" else ended.kind
        for study_uid, study in self._studies.items():
            if study.lane is not None:
                self._around.background.offer(self._ended(study_uid, study, study.lane, outcome))
            if study.received:
                self._audit(study_uid, study, "instances_received", outcome)
            if study.refused:
                self._audit(study_uid, study, "instances_refused", outcome)
            log.info(
                "study received",
                trace_id=trace_id_hex(self._origin.source, study_uid),
                source=self._origin.source,
                study_uid=study_uid,
                association=str(self._origin.association),
                received=study.received,
                refused=study.refused,
                outcome=outcome,
            )
            if study.span is not None:
                study.span.end(received=study.received, refused=study.refused, outcome=outcome)

    def _ended(self, study_uid: str, study: Study, lane: Lane, outcome: Outcome) -> AssociationEnded:
        origin = self._origin
        return AssociationEnded.of(
            id=caused_id(origin.association, AssociationEnded.type_name(), study_uid),
            subject=f"{origin.source}/{study_uid}",
            time=self._around.now(),
            traceparent=study.traceparent or root_traceparent(origin.source, study_uid),
            data=AssociationEndedData(
                source=origin.source,
                study_uid=study_uid,
                association=origin.association,
                lane=lane,
                calling_ae=origin.calling_ae,
                called_ae=origin.called_ae,
                outcome=outcome,
                received=study.received,
                refused=study.refused,
                started_at=self._started_at,
            ),
        )

    def _audit(self, study_uid: str, study: Study, action: AuditAction, outcome: Outcome) -> None:
        origin = self._origin
        refused = action == "instances_refused"
        reason = study.denied or "could not be made safe" if refused else ""
        self._around.background.offer(
            AuditRecorded.of(
                id=caused_id(origin.association, AuditRecorded.type_name(), f"{action}/{study_uid}"),
                subject=f"{origin.source}/{study_uid}",
                time=self._around.now(),
                traceparent=study.traceparent or root_traceparent(origin.source, study_uid),
                data=AuditRecordedData(
                    action=action,
                    outcome=("refused" if study.denied else "failure") if refused else "success",
                    actor=Actor(kind="institution", id=origin.source, institution=origin.source),
                    study_uid=study_uid,
                    source=origin.source,
                    recipient=getattr(origin.called, "code", None),
                    reason=reason,
                    counts={"received": study.received, "refused": study.refused},
                    details={
                        "calling_ae": origin.calling_ae,
                        "called_ae": origin.called_ae,
                        "association": str(origin.association),
                        "ended": outcome,
                        **self._peer.details,
                    },
                    personal={"address": self._peer.host},
                ),
            )
        )
