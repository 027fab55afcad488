"""What delivery says: confirmations, attempts, receipts and endings, and what they make of shares."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

from imex.db import UnitOfWork
from imex.events.deliveries import (
    DeliveryAttempted,
    DeliveryCompleted,
    DeliveryEnded,
    DeliveryProgressed,
    DeliverySteered,
)
from imex.routing import publish, studies
from imex.routing.carrying import carried
from imex.routing.completeness import settled
from imex.routing.corrections.outcomes import of_notes, take_note
from imex.routing.docket import DELIVERY, Docket
from imex.routing.handover import HandOver
from imex.routing.publish import Cause
from imex.routing.repository import Outcome, Repository
from imex.routing.retrievals import RetrievalFact, hear
from imex.routing.states import Fact, transition
from imex.routing.studies import STUDY_KEPT
from imex.routing.surroundings import Surroundings
from imex.runtime import Message
from imex.sharing.model import Share, Study
from imex.sharing.wishes import latest

DeliveryFact = DeliveryAttempted | DeliveryProgressed | DeliveryCompleted | DeliveryEnded | DeliverySteered


class Outcomes:
    """Handles the topic `deliveries`."""

    def __init__(self, around: Surroundings) -> None:
        """Facts keep their own times; the clock says when a passage has ended."""
        self._around = around

    async def __call__(self, messages: Sequence[Message], unit: UnitOfWork) -> None:
        """One batch in one transaction."""
        retrievals = [message.event for message in messages if isinstance(message.event, RetrievalFact)]
        await hear(unit, retrievals)
        facts = [message.event for message in messages if isinstance(message.event, DeliveryFact)]
        repository = Repository(unit.connection)
        known = await repository.lock_studies({(fact.data.source, fact.data.study_uid) for fact in facts})
        docket = Docket(unit, repository, await repository.shares_of(known), self._around.moved)
        hand_over = HandOver(unit, repository, docket, self._around.index())
        if notes := await of_notes(unit, docket, facts):
            await take_note(unit, docket, notes, [fact for fact in facts if fact.data.delivery in notes])
            facts = [fact for fact in facts if fact.data.delivery not in notes]
        await _count(repository, docket, facts)
        for fact in facts:
            study = known.get((fact.data.source, fact.data.study_uid))
            share = docket.get(fact.data.share)
            if study is None or share is None:
                continue
            await self._tell(docket, hand_over, study, share, fact)
        now = self._around.clock()
        await repository.save_studies(
            [studies.finished(study, docket.of(study), now) for study in known.values()]
        )
        await docket.write()

    async def _tell(
        self, docket: Docket, hand_over: HandOver, study: Study, share: Share, fact: DeliveryFact
    ) -> None:
        if isinstance(fact, DeliverySteered):
            _steered(docket, study, share, fact)
            return
        cause = Cause(fact.id, fact.time, publish.service(DELIVERY))
        if share.state == "failed" and share.disposed_at is None and not isinstance(fact, DeliveryEnded):
            share = _resume(docket, study, share, cause)
        match fact:
            case DeliveryProgressed():
                _images(docket, share, fact, cause)
            case DeliveryAttempted(data=data):
                told = {
                    "endpoint": data.endpoint,
                    "attempt": data.attempt,
                    "outcome": data.outcome,
                    "reason": data.reason,
                }
                next_at = data.next_attempt_at.isoformat() if data.next_attempt_at else None
                details = {**told, "confirmed": data.confirmed, "next_attempt_at": next_at}
                docket.note(
                    share,
                    "delivery_attempted",
                    cause,
                    at=data.ended_at,
                    reason=data.reason,
                    details=details,
                )
                if share.live:
                    docket.announce(share, "delivery_attempted", cause, told)
            case DeliveryCompleted(data=data):
                share = docket.put(
                    replace(share, receipt_digest=data.receipt_digest, receipt_revision=data.revision)
                )
                await _settle(hand_over, study, share, cause, fact)
            case DeliveryEnded(data=data):
                docket.move(share, _ENDINGS[data.outcome], cause, reason=data.reason)


def _steered(docket: Docket, study: Study, share: Share, fact: DeliverySteered) -> None:
    """What a person had done is a step of the timeline; what is tried again is under way again."""
    data = fact.data
    cause = Cause(fact.id, fact.time, publish.person(data.actor, data.actor_institution))
    of_all = {"destination": f"{data.recipient}/{data.endpoint}"} if data.whole_destination else {}
    before = {"from_endpoint": data.from_endpoint} if data.from_endpoint else {}
    details = {"endpoint": data.endpoint, **of_all, **before}
    docket.note(share, _STEPS[data.command], cause, reason=data.reason, details=details)
    if data.command == "reroute" and share.state != "delivered":
        share = docket.put(replace(share, reached=_with(share.reached, data.endpoint)))
    if data.command in _TRY_AGAIN and not data.whole_destination and share.disposed_at is None:
        _resume(docket, study, share, cause)


def _with(endpoints: Sequence[str], another: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*endpoints, another)))


_TRY_AGAIN = frozenset({"retry", "reroute"})
_STEPS = {"pause": "paused", "resume": "resumed", "retry": "retried", "reroute": "rerouted"}
_ENDINGS = {"failed": Fact.GIVEN_UP, "expired": Fact.TIMED_OUT, "cancelled": Fact.CALLED_OFF}


async def _count(repository: Repository, docket: Docket, facts: Iterable[DeliveryFact]) -> None:
    """Write the outcomes of a whole batch at once and bring the shares' counts up to date."""
    said: dict[tuple[UUID, str], Outcome] = {}
    for fact in facts:
        if not isinstance(fact, DeliveryProgressed):
            continue
        for one in fact.data.outcomes:
            key = (fact.data.share, one.sop_instance_uid)
            if key not in said or said[key].state != "confirmed":
                said[key] = Outcome(
                    fact.data.share, one.sop_instance_uid, one.digest, one.state, one.reason, one.at
                )
    for change in await repository.record_outcomes([said[key] for key in sorted(said)]):
        share = docket.get(change.share)
        if share is not None:
            docket.put(
                replace(
                    share,
                    confirmed=share.confirmed + (change.after == "confirmed"),
                    failed=share.failed + (change.after == "failed") - (change.before == "failed"),
                )
            )


def _resume(docket: Docket, study: Study, share: Share, cause: Cause) -> Share:
    """A delivery goes on that had failed, or of which something had: somebody had it tried again.

    So its payloads stay. One that failed as a whole is withdrawn where a later episode has taken over.
    """
    if share.state == "failed" and latest(docket.of(study), share.recipient, share.purpose) != share:
        return share
    if share.state == "partial" and not share.failed:
        return share  # what it lacks is not with delivery
    if transition(share.state, Fact.RESUMED) is None:
        return share
    resumed = docket.move(share, Fact.RESUMED, cause, reason="the delivery was tried again")
    return docket.put(replace(resumed, expires_at=cause.at + STUDY_KEPT))


def _images(docket: Docket, share: Share, fact: DeliveryProgressed, cause: Cause) -> None:
    """When the first and the last image so far were confirmed; partners are told of the first."""
    if fact.data.given_study_uid and fact.data.given_study_uid != share.given_study_uid:
        # by it is recognised what its recipient makes of it
        share = docket.put(replace(share, given_study_uid=fact.data.given_study_uid, return_due=True))
    confirmed = [one.at for one in fact.data.outcomes if one.state == "confirmed"]
    if not confirmed:
        return
    newest = max(confirmed)
    share = docket.put(
        replace(
            share,
            last_image_at=max(share.last_image_at or newest, newest),
            reached=_with(share.reached, fact.data.endpoint),
        )
    )
    if share.first_image_at is not None or not share.live:
        return
    share = docket.put(replace(share, first_image_at=min(confirmed)))
    docket.note(share, "first_image_received", cause, at=share.first_image_at)
    docket.announce(share, "first_image_received", cause)


async def _settle(
    hand_over: HandOver, study: Study, share: Share, cause: Cause, completed: DeliveryCompleted
) -> None:
    """A receipt is written: is that all there was to deliver?"""
    docket = hand_over.docket
    if share.disposed_at is not None:
        return  # its study has been counted anew since
    decided = completed.data.confirmed + completed.data.failed
    found = settled(study, share)
    if (
        found is None
        and share.complete
        and share.handed >= carried(study, share).validated
        and decided >= share.handed
    ):
        # delivery has an outcome for everything; what was not counted here is not known to be confirmed
        found = Fact.SHORT
    match found:
        case Fact.WHOLE:
            details = {
                "instances": share.confirmed,
                "receipt_digest": share.receipt_digest,
                "revision": share.receipt_revision,
            }
            moved = docket.move(share, Fact.WHOLE, cause, details=details)
            if moved is not share:
                docket.put(replace(moved, delivered_at=cause.at, result_due=True))
        case Fact.SHORT:
            if share.state == "partial":
                words = await hand_over.shortfall(study, share)
                docket.put(replace(share, reason=words, updated_at=cause.at))
            else:
                await hand_over.fall_short(study, share, cause)
        case _:
            return
