"""Judged instances: studies grow, shares are decided, emergencies are handed over at once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from imex.db import UnitOfWork
from imex.directory import DirectoryIndex
from imex.events.validations import AssociationValidated, InstanceValidated
from imex.observability.names import SpanName
from imex.observability.traces import traceparent_of
from imex.routing import publish, studies
from imex.routing.carrying import carried, classes_of
from imex.routing.completeness import missing, settled
from imex.routing.corrections.hearing import hear
from imex.routing.deciding import Deciding
from imex.routing.disposal import Answer, take_note
from imex.routing.docket import Docket
from imex.routing.handover import HandOver
from imex.routing.news import InstanceEvent, JudgedEvent, News, OpenIdentity, first_of, read
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.series import requires_series
from imex.routing.states import Fact
from imex.routing.storing import store_facts
from imex.routing.surroundings import Surroundings
from imex.runtime import Message
from imex.sharing.model import Share, Study, StudyKey
from imex.sharing.wishes import latest


class Intake:
    """Handles the topics of validation."""

    def __init__(self, around: Surroundings, open_identity: OpenIdentity) -> None:
        """`open_identity` raises for a field that nobody can open."""
        self._around = around
        self._open_identity = open_identity

    async def __call__(self, messages: Sequence[Message], unit: UnitOfWork) -> None:
        """One batch in one transaction."""
        answers = [message.event for message in messages if isinstance(message.event, Answer)]
        if answers:
            await take_note(unit, answers, self._around)
        judged = [message for message in messages if isinstance(message.event, JudgedEvent)]
        if not judged:
            return
        for version in {m.event.data.directory_version for m in judged if isinstance(m.event, InstanceEvent)}:
            await self._around.directories.wait_for(version)
        repository = Repository(unit.connection)
        groups = _by_study(judged)
        known = await self._lock(repository, groups)
        groups = {key: group for key, group in groups.items() if key in known}
        stored = await store_facts(repository, [message for group in groups.values() for message in group])
        accepted = (m.event for m in judged if isinstance(m.event, InstanceValidated))
        await hear(unit, accepted, stored.instances)
        lost = await repository.lost(_may_have_lost(known, groups))
        docket = Docket(unit, repository, await repository.shares_of(known), self._around.moved)
        index = self._around.index()
        hand_over = HandOver(unit, repository, docket, index)
        grown: dict[StudyKey, tuple[Study, News]] = {}
        asked: set[StudyKey] = set()
        for key, group in groups.items():
            before, is_new = known[key]
            study, news = read(before, group, stored, self._open_identity)
            study = replace(study, lost=lost.get(key, study.lost))
            news.lost = study.lost - before.lost
            grown[key] = study, news
            if studies.needs_evaluation(
                None if is_new else before, study, index.version, arrivals=news.arrivals
            ) or _asks_again(study, news, docket.of(study)):
                asked.add(key)
        backgrounds = await self._around.backgrounds.around(
            unit.connection, [grown[key][0] for key in groups if key in asked]
        )
        if requires_series(index):
            await repository.add_series({key: news.series for key, (_, news) in grown.items()})
        deciding = Deciding(docket, index, backgrounds)
        saved: list[Study] = []
        for key, group in groups.items():
            study, news = grown[key]
            work = _Work(docket, hand_over, deciding, index, self._around.clock(), group[-1])
            if key in asked:
                with self._around.traces.span(SpanName.ROUTE, *key) as span:
                    work.traceparent = traceparent_of(span)
                    study = await work.evaluate(study, news)
            else:
                await work.tell(study, news, opened=[])
            shares = docket.of(study)
            arrived = any(isinstance(message.event, InstanceEvent) for message in group)
            waiting = study.due_at is not None or any(share.live and not share.complete for share in shares)
            # an association that has ended may be all that was waited for
            if arrived or waiting:
                study = replace(study, due_at=studies.due(study, shares, self._around.default_quiet_s))
            saved.append(studies.finished(study, shares, work.now))
        await repository.save_studies(saved)
        await docket.write()
        await deciding.write(unit.connection)

    async def _lock(
        self, repository: Repository, groups: dict[StudyKey, list[Message]]
    ) -> dict[StudyKey, tuple[Study, bool]]:
        found = await repository.lock_studies(groups)
        fresh = {key: study for key in groups if key not in found and (study := first_of(groups[key]))}
        # one order of locking for all batches, so that two that overlap wait instead of dead-locking
        for key in sorted(fresh):
            if await repository.add_study(fresh[key]):
                found[key] = fresh[key]
        if theirs := fresh.keys() - found.keys():
            # somebody else was first: what is locked is what counts
            found |= await repository.lock_studies(theirs)
        return {key: (study, key in fresh) for key, study in found.items()}


class _Work:
    """What is done for one study of a batch."""

    def __init__(  # noqa: PLR0917  what one study's work needs
        self,
        docket: Docket,
        hand_over: HandOver,
        deciding: Deciding,
        index: DirectoryIndex,
        now: datetime,
        last: Message,
    ) -> None:
        self.now = now
        self.traceparent: str | None = None
        self._deciding = deciding
        self._docket = docket
        self._hand_over = hand_over
        self._index = index
        self._last = last

    def _cause(self) -> Cause:
        return Cause(self._last.event.id, self.now, traceparent=self.traceparent)

    async def evaluate(self, study: Study, news: News) -> Study:
        """Ask rules and agreements anew, then tell the shares what is new."""
        opened = self._deciding.ask(study, self._cause())
        await self.tell(study, news, opened=opened)
        return replace(study, evaluated_version=self._index.version)

    async def tell(self, study: Study, news: News, *, opened: Sequence[Share]) -> None:
        """What is new of a study, for each of its shares."""
        new = {share.id for share in opened}
        for share in self._docket.of(study):
            if share.id not in new:
                self._note_repeats(study, share, news)
            if share.live:
                known = await self._hand_over.count(study, share)
                await self._tell_live(study, known, news, is_new=share.id in new)

    async def _tell_live(self, study: Study, known: Share, news: News, *, is_new: bool) -> None:
        self._note_held(known, news)
        more = not known.left_out or carried(study, known).validated > known.handed
        share = self._reopen(known, news) if news.accepted and more and not is_new else known
        share = self._take_back(study, share, news)
        streaming = share.streams and share.state in {"collecting", "delivering"}
        if streaming and carried(study, share).validated > share.handed:
            share = await self._hand_over.pass_on(study, share, self._cause())
        if streaming and share.parts and any(one.data.disputes for one in news.held):
            await self._hand_over.annotate(share, self._cause())
        if (news.held or news.discarded) and share.complete and share.delivery_revision:
            # the receipt names what the recipient does not get
            share = await self._hand_over.close(share, self._cause())
        if news.held or news.discarded or news.released or news.lost:
            await self._reconsider(study, share)

    def _note_repeats(self, study: Study, share: Share, news: News) -> None:
        newest = latest(self._docket.of(study), share.recipient, share.purpose)
        if newest is not None and newest.id == share.id:
            for association in news.repeated:
                cause = Cause(association, self.now, publish.institution(study.source))
                words = "sent again with the same bytes: nothing is delivered twice"
                self._docket.note(share, "repeated", cause, reason=words)

    def _note_held(self, share: Share, news: News) -> None:
        classes = classes_of(share)
        if held := [one.data for one in news.held if classes is None or one.data.sop_class_uid in classes]:
            words = f"{len(held)} in quarantine: {'; '.join(dict.fromkeys(one.reason for one in held))}"
            self._docket.note(share, "quarantined", self._cause(), reason=words)
        for discarded in news.discarded:
            cause = Cause(discarded.id, self.now, publish.person(discarded.data.actor))
            self._docket.note(share, "discarded", cause, reason=discarded.data.reason)
        for released in news.released:
            words = "an instance was released from quarantine"
            self._docket.note(share, "released", replace(self._cause(), id=released.id), reason=words)

    def _take_back(self, study: Study, share: Share, news: News) -> Share:
        """What is to be handed over again: other bytes, or those whose dispute is over."""
        for event in news.replaced:
            words = "another copy of an instance takes the place of the first for what is not delivered yet"
            self._docket.note(share, "replaced", replace(self._cause(), id=event.id), reason=words)
        if taken := news.taken_back.get(share.id, 0):
            share = self._docket.put(replace(share, handed=share.handed - taken))
        of_share = carried(study, share)
        lacking = share.complete and share.handed < of_share.validated - of_share.disputed
        if lacking and (news.replaced or news.discarded or news.released):
            if share.state in {"delivered", "partial"}:
                words = "an instance may leave now that a person has decided"
                share = self._docket.move(share, Fact.MORE, self._cause(), reason=words)
            share = self._docket.put(replace(share, complete=False))
        return share

    def _reopen(self, share: Share, news: News) -> Share:
        """A late or released instance: the manifest is not whole any more."""
        if share.state in {"delivered", "partial"}:
            count = news.accepted
            words = f"{count} more instance{'' if count == 1 else 's'} came in"
            share = self._docket.move(share, Fact.MORE, self._cause(), reason=words)
        if share.complete:
            share = self._docket.put(replace(share, complete=False))
        return share

    async def _reconsider(self, study: Study, share: Share) -> None:
        """What is in quarantine has changed under a share that had ended."""
        if share.state == "delivered" and missing(study, share):
            await self._hand_over.fall_short(study, share, self._cause())
        elif share.state == "partial" and settled(study, share) is Fact.WHOLE:
            self._docket.move(share, Fact.WHOLE, self._cause())
        elif share.state == "partial":
            words = await self._hand_over.shortfall(study, share)
            self._docket.put(replace(share, reason=words, updated_at=self.now))


def _asks_again(study: Study, news: News, shares: Sequence[Share]) -> bool:
    """Whether rules are asked though nothing that they look at has changed.

    What was delivered is held to nothing until more of it comes; and a result may be the first one that goes
    back.
    """
    if news.results and study.standing and not any(one.live and one.origin == "return" for one in shares):
        return True
    return bool(news.accepted) and any(share.state == "delivered" for share in shares)


def _may_have_lost(
    known: dict[StudyKey, tuple[Study, bool]], groups: dict[StudyKey, list[Message]]
) -> list[StudyKey]:
    """The studies whose associations are worth counting: one has ended, or something was missing."""
    return [
        key
        for key, group in groups.items()
        if known[key][0].lost or any(isinstance(one.event, AssociationValidated) for one in group)
    ]


def _by_study(messages: Sequence[Message]) -> dict[StudyKey, list[Message]]:
    groups: dict[StudyKey, list[Message]] = {}
    for message in messages:
        data = message.event.data
        groups.setdefault((data.source, data.study_uid), []).append(message)
    return groups
