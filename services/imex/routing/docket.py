"""What one unit of work does to shares: moves, timeline rows and events, collected and then written."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from imex.db import UnitOfWork
from imex.events import ids
from imex.events.shares import FINAL_STATES
from imex.routing import publish, retention
from imex.routing.publish import Announcement, Cause
from imex.routing.repository import Repository
from imex.routing.states import Fact, transition
from imex.routing.studies import STUDY_KEPT
from imex.sharing.decide import resting
from imex.sharing.decisions import Addressed, Judgement, Open
from imex.sharing.model import Share, Study

DELIVERY = "delivery"

_log = structlog.get_logger(__name__)


class Docket:
    """Collects; nothing is written before `write`. The caller holds the locks of the studies."""

    def __init__(
        self,
        unit: UnitOfWork,
        repository: Repository,
        shares: Iterable[Share],
        counted: Callable[[Share], None],
    ) -> None:
        """`shares` are all those of the studies in hand; `counted` is told of each move."""
        self._counted = counted
        self._unit = unit
        self._repository = repository
        self._shares = {share.id: share for share in shares}
        self._touched: dict[Any, None] = {}
        self._timeline: list[dict[str, Any]] = []

    def of(self, study: Study) -> list[Share]:
        """The shares of a study as they stand now."""
        return [share for share in self._shares.values() if share.study == study.key]

    def get(self, share: UUID) -> Share | None:
        """A share as it stands now; None where it is of no study in hand."""
        return self._shares.get(share)

    def put(self, share: Share) -> Share:
        """Remember a share as it now is."""
        self._shares[share.id] = share
        self._touched[share.id] = None
        return share

    def note(
        self,
        share: Share,
        step: str,
        cause: Cause,
        *,
        at: datetime | None = None,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """A row of the timeline; the same step by the same cause stays one row."""
        self._timeline.append(
            {
                "share": share.id,
                "cause": cause.id,
                "step": step,
                "at": at or cause.at,
                "actor": cause.who,
                "reason": reason,
                "details": dict(details or {}),
            }
        )

    def announce(
        self, share: Share, announcement: Announcement, cause: Cause, more: Mapping[str, Any] | None = None
    ) -> Share:
        """Tell partners, with the next number of this share's events."""
        numbered = self.put(replace(share, sequence=share.sequence + 1))
        self._unit.publish(publish.share_event(announcement, numbered, cause, more))
        return numbered

    def move(
        self,
        share: Share,
        fact: Fact,
        cause: Cause,
        *,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Share:
        """What `fact` makes of a share, with all that follows; unchanged where it means nothing.

        `details` are for the timeline, `more` for the partner event.
        """
        state = transition(share.state, fact)
        if state is None:
            _log.info("share unmoved", share=str(share.id), state=share.state, fact=fact.name)
            return share
        moved = self.put(replace(share, state=state, reason=reason, updated_at=cause.at))
        self._counted(moved)
        _log.info("share moved", **_about(moved), state=state)
        self.note(moved, state, cause, reason=reason, details=details)
        if announcement := publish.ANNOUNCED_STATES.get(state):
            moved = self.announce(moved, announcement, cause, more)
        if record := publish.audit_of(moved, cause):
            self._unit.publish(record)
        # delivery knows of an end that it has told of itself; but one that ends the share for good must not
        # be tried again: its images would arrive under a share that says they did not
        resumable = transition(state, Fact.RESUMED) is not None
        told_here = cause.actor.id == DELIVERY and resumable
        if state in FINAL_STATES and moved.parts and not told_here:
            self._unit.publish(publish.manifest_withdrawn(moved, cause))
        return moved

    def open(self, study: Study, decision: Open, cause: Cause, command: Any = None) -> Share:
        """A new share, as far as it goes at once: refused, waiting for its recipient, or collecting."""
        wish, judgement = decision.addressed, decision.judgement
        self._take_over(study, wish, cause)
        share = self.put(
            Share(
                id=ids.share_id(*study.key, wish.recipient, wish.purpose, decision.episode),
                source=study.source,
                study_uid=study.study_uid,
                recipient=wish.recipient,
                purpose=wish.purpose,
                episode=decision.episode,
                passage=study.passage,
                priority=wish.priority,
                origin=wish.origin,
                rule=wish.rule,
                agreement=judgement.agreement,
                legal_basis=judgement.legal_basis,
                deidentified=judgement.deidentify is not None,
                directory_version=judgement.directory_version,
                endpoint=wish.endpoint,
                reference=wish.reference,
                quiet_s=wish.quiet_s,
                escalate_after_s=wish.escalate.after_s if wish.escalate else None,
                escalate_to=wish.escalate.to.value if wish.escalate else None,
                clinician=wish.clinician,
                controllers=judgement.controllers,
                processors=judgement.processors,
                alternate_of=wish.alternate_of,
                by_expected=wish.completeness.expected,
                required_series=wish.completeness.required_series,
                at_most_s=wish.completeness.at_most_s,
                priors_due=wish.priors is not None and judgement.covered,
                legal_hold=retention.holds(judgement.retain, wish.purpose),
                retain_days=judgement.retain if isinstance(judgement.retain, int) else None,
                command_id=command,
                created_at=cause.at,
                updated_at=cause.at,
                expires_at=cause.at + STUDY_KEPT,
            )
        )
        self._counted(share)
        _log.info("share requested", **_about(share), rule=share.rule)
        self._story_so_far(study, share, cause)
        share = self.announce(share, "requested", cause)
        self.note(share, "requested", cause, reason=_why(share, wish.because))
        if record := publish.audit_of(share, cause):
            self._unit.publish(record)
        if not judgement.covered:
            return self.move(share, Fact.UNCOVERED, cause, reason=judgement.reason)
        if judgement.asks_recipient:
            return self.put(replace(share, reason=f"waits for {share.recipient} to accept it"))
        return self.accept(share, cause)

    def _take_over(self, study: Study, wish: Addressed, cause: Cause) -> None:
        """What has failed before is not tried again beside a new episode, whatever becomes of that one."""
        for earlier in self.of(study):
            same = (earlier.recipient, earlier.purpose) == (wish.recipient, wish.purpose)
            if same and earlier.state == "failed" and earlier.parts:
                told = replace(earlier, reason="a later share has taken its place")
                self._unit.publish(publish.manifest_withdrawn(told, cause))

    def accept(self, share: Share, cause: Cause) -> Share:
        """An agreement covers it and nobody need be asked any more."""
        basis = {"agreement": share.agreement, "legal_basis": share.legal_basis}
        share = self.move(share, Fact.COVERED, cause, details=basis)
        return self.move(share, Fact.COLLECT, cause)

    def urge(self, share: Share, wish: Addressed, cause: Cause) -> Share:
        """A more urgent rule claims a share of which nothing has left yet."""
        reason = f"raised from {share.priority} to {wish.priority} by standing rule {wish.rule}"
        urged = replace(
            share,
            priority=wish.priority,
            rule=wish.rule,
            quiet_s=wish.quiet_s,
            escalate_after_s=wish.escalate.after_s if wish.escalate else None,
            escalate_to=wish.escalate.to.value if wish.escalate else None,
            endpoint=wish.endpoint or share.endpoint,
            clinician=wish.clinician or share.clinician,
            by_expected=wish.completeness.expected,
            required_series=wish.completeness.required_series,
            at_most_s=wish.completeness.at_most_s,
            priors_due=share.priors_due or wish.priors is not None,
            updated_at=cause.at,
        )
        self.note(urged, "accepted", cause, reason=reason)
        return self.put(urged)

    def widen(
        self, share: Share, wish: Addressed, judgement: Judgement, cause: Cause, command: Any = None
    ) -> Share:
        """A share that returned results carries the whole study from now on."""
        widened = replace(
            resting(share, judgement),
            origin=wish.origin,
            rule=wish.rule,
            reference=wish.reference or share.reference,
            clinician=wish.clinician or share.clinician,
            command_id=command or share.command_id,
            left_out=None,
            updated_at=cause.at,
        )
        words = f"carries the whole study from now on, not its results alone: {_why(widened, wish.because)}"
        self.note(widened, "accepted", cause, reason=words)
        if not (share.left_out and share.left_out["validated"]):
            return self.put(widened)
        widened = self.put(replace(widened, complete=False))
        if share.state in {"delivered", "partial"}:
            return self.move(widened, Fact.MORE, cause, reason=words)
        return widened

    def rest(self, share: Share, judgement: Judgement, cause: Cause) -> Share:
        """Another agreement carries a share from now on, or its own with other demands."""
        rested = self.put(replace(resting(share, judgement), updated_at=cause.at))
        if rested.agreement != share.agreement:
            words = f"agreement {share.agreement} covers it no more; {judgement.reason}"
        else:
            what = (
                "asks for de-identification now"
                if rested.deidentified
                else "asks for no de-identification any more"
            )
            words = f"{judgement.reason}, {what}"
        self.note(rested, "accepted", cause, reason=words)
        if rested.state == "delivering":
            # delivery asks the agreement that it knows what is to be done
            self._unit.publish(publish.manifest_rested(rested, cause))
        return rested

    def _story_so_far(self, study: Study, share: Share, cause: Cause) -> None:
        """What befell the study before this share was thought of."""
        sender = Cause(cause.id, cause.at, publish.institution(study.source))
        self.note(share, "received", sender, at=study.first_received_at)
        if study.first_validated_at:
            self.note(share, "validated", cause, at=study.first_validated_at)
        if study.waiting:
            self.note(share, "quarantined", cause, reason=f"{study.waiting} in quarantine")

    async def write(self) -> None:
        """Write what was collected, in the unit's transaction."""
        await self._repository.save_shares([self._shares[share] for share in self._touched])
        await self._repository.add_timeline(self._timeline)
        self._touched = {}
        self._timeline = []


def _about(share: Share) -> dict[str, str]:
    trace = ids.trace_id_hex(share.source, share.study_uid)
    return {"share": str(share.id), "study_uid": share.study_uid, "trace_id": trace}


def _why(share: Share, because: str) -> str:
    match share.origin:
        case "rule" if share.alternate_of:
            return f"standing rule {share.rule}, in the place of {share.alternate_of}: {because}"
        case "rule":
            return f"standing rule {share.rule}"
        case "prior" | "return":
            return because
        case "called":
            return f"addressed to {share.recipient} by the called AE title"
        case "command":
            return "asked for by hand"
