"""What people ask of shares: create, accept, refuse, cancel, revoke; and what came of it."""

from collections.abc import Sequence
from dataclasses import replace

from imex.db import UnitOfWork
from imex.events.commands import (
    CorrectionCommanded,
    HoldCommanded,
    LinkCommanded,
    MarkCommanded,
    RequestCommanded,
    ShareCommanded,
    ShareCommandedData,
    SubjectCommanded,
    ViewReported,
)
from imex.observability.names import SpanName
from imex.observability.traces import traceparent_of
from imex.routing import command_results, publish, studies
from imex.routing.command_results import Result
from imex.routing.corrections.orders import obey as obey_corrections
from imex.routing.deciding import Deciding
from imex.routing.docket import Docket
from imex.routing.handover import HandOver
from imex.routing.holds import obey as obey_holds
from imex.routing.links import obey as obey_link
from imex.routing.marks import OpenPerson
from imex.routing.marks import obey as obey_mark
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.requests import obey as obey_requests
from imex.routing.states import Fact, transition
from imex.routing.subjects import obey as obey_subject
from imex.routing.surroundings import Surroundings
from imex.routing.views import tell
from imex.routing.wanted import OpenWanted
from imex.runtime import Message
from imex.sharing.decisions import Addressed
from imex.sharing.model import Share, Study
from imex.sharing.wishes import latest


class Orders:
    """Handles the topic `commands`; what is for others is passed over."""

    def __init__(self, around: Surroundings, open_person: OpenPerson, open_wanted: OpenWanted) -> None:
        """The clock says when a command is decided; the others open whom it names, and what it is about."""
        self._around = around
        self._open_person = open_person
        self._open_wanted = open_wanted

    async def __call__(self, messages: Sequence[Message], unit: UnitOfWork) -> None:
        """One batch in one transaction."""
        for message in messages:
            if isinstance(message.event, MarkCommanded):
                await obey_mark(unit, message.event, self._around, self._open_person)
            elif isinstance(message.event, LinkCommanded):
                await obey_link(unit, message.event, self._around, self._open_person)
        if requests := [one.event for one in messages if isinstance(one.event, RequestCommanded)]:
            await obey_requests(unit, requests, self._around, self._open_wanted)
        if holds := [one.event for one in messages if isinstance(one.event, HoldCommanded)]:
            await obey_holds(unit, holds, self._around)
        for message in messages:
            if isinstance(message.event, SubjectCommanded):
                await obey_subject(unit, message.event, self._around, self._open_person, self._open_wanted)
        if wrong := [one.event for one in messages if isinstance(one.event, CorrectionCommanded)]:
            await obey_corrections(unit, wrong, self._around)
        if commands := [one.event for one in messages if isinstance(one.event, ShareCommanded)]:
            await self._obey(commands, unit)
        # behind the commands: who was let in by one of them has read it after that
        if views := [one.event for one in messages if isinstance(one.event, ViewReported)]:
            await tell(unit, views, self._around)

    async def _obey(self, commands: Sequence[ShareCommanded], unit: UnitOfWork) -> None:
        repository = Repository(unit.connection)
        known = await repository.lock_studies({(one.data.source, one.data.study_uid) for one in commands})
        docket = Docket(unit, repository, await repository.shares_of(known), self._around.moved)
        wanted = {(one.data.source, one.data.study_uid) for one in commands if one.data.command == "create"}
        backgrounds = await self._around.backgrounds.around(
            unit.connection, [study for key, study in known.items() if key in wanted]
        )
        index = self._around.index()
        deciding = Deciding(docket, index, backgrounds)
        hand_over = HandOver(unit, repository, docket, index)
        results: list[tuple[ShareCommanded, Result]] = []
        for command in commands:
            key = (command.data.source, command.data.study_uid)
            study = known.get(key)
            if study is None:
                words = f"{command.data.source} has sent no study with this UID; send it first"
                results.append((command, Result("rejected", words)))
                continue
            with self._around.traces.span(
                SpanName.COMMAND, *key, attributes={"command": command.data.command}
            ) as span:
                actor = publish.person(command.data.actor, command.data.actor_institution)
                cause = Cause(command.id, self._around.clock(), actor, traceparent_of(span))
                known[key], result = _obey(docket, deciding, study, command.data, cause)
                results.append((command, result))
                share = docket.get(result.share) if result.share else None
                if share is not None and share.streams and share.state == "collecting":
                    # an emergency does not wait for the next instance, or for the end of its study
                    await hand_over.pass_on(study, share, cause)
        now = self._around.clock()
        await repository.save_studies(
            [studies.finished(study, docket.of(study), now) for study in known.values()]
        )
        await docket.write()
        await deciding.write(unit.connection)
        await command_results.tell(
            unit.connection,
            [(command.id, command.data.recipient, result) for command, result in results],
        )


def _obey(
    docket: Docket, deciding: Deciding, study: Study, asked: ShareCommandedData, cause: Cause
) -> tuple[Study, Result]:
    if not _may(asked):
        return study, Result("rejected", f"only {_whose(asked)} can {asked.command} this share")
    if asked.command == "create":
        return _create(docket, deciding, study, asked, cause)
    share = docket.get(asked.share) if asked.share else None
    if share is None or share.study != study.key:
        return study, Result("rejected", "there is no such share")
    return _change(docket, study, share, asked, cause)


def _create(
    docket: Docket, deciding: Deciding, study: Study, asked: ShareCommandedData, cause: Cause
) -> tuple[Study, Result]:
    if study.retiring_at is not None or study.disposed_at is not None:
        words = "its images have been deleted, as they are kept for a limited time; send the study again"
        return study, Result("rejected", words)
    if study.recalled and study.recalled >= study.validated:
        words = f"{study.source} has recalled all of it; send it again as it should be"
        return study, Result("rejected", words)
    wish = Addressed(
        recipient=asked.recipient,
        purpose=asked.purpose,
        priority=asked.priority,
        origin="command",
        endpoint=asked.endpoint,
        reference=asked.reference,
        clinician=asked.clinician,
    )
    share = deciding.ask_by_hand(study, wish, cause, command=cause.id)
    if share is None:
        known = latest(docket.of(study), asked.recipient, asked.purpose)
        assert known is not None, "nothing is planned only where a share is there"
        if known.command_id == cause.id:
            return studies.due_again(study, known), Result("done", "", known.id)
        docket.note(known, "requested", cause, reason="requested again: this share is there already")
        return study, Result("noted", f"there is one already, {known.state}", known.id)
    return studies.due_again(study, share), Result("done", share.reason, share.id)


def _change(
    docket: Docket, study: Study, share: Share, asked: ShareCommandedData, cause: Cause
) -> tuple[Study, Result]:
    match asked.command:
        case "accept":
            if share.state != "requested":
                return study, Result("rejected", f"the share is {share.state}", share.id)
            share = docket.accept(share, cause)
            return studies.due_again(study, share), Result("done", share=share.id)
        case "complete":
            return _complete(docket, study, share, asked.reason, cause)
        case "refuse":
            fact, words = Fact.DECLINED, f"{share.recipient} refused it"
        case "cancel":
            fact, words = Fact.CALLED_OFF, "cancelled"
        case _:
            fact, words = Fact.TAKEN_BACK, "revoked"
    if transition(share.state, fact) is None:
        return study, Result("rejected", f"the share is {share.state}", share.id)
    reason = f"{words}: {asked.reason}" if asked.reason else words
    docket.move(share, fact, cause, reason=reason)
    return study, Result("done", share=share.id)


def _complete(docket: Docket, study: Study, share: Share, reason: str, cause: Cause) -> tuple[Study, Result]:
    """A person knows that nothing more comes: the wait ends."""
    if share.complete or share.state not in {"collecting", "delivering"}:
        what = "complete already" if share.complete else share.state
        return study, Result("rejected", f"the share is {what}", share.id)
    words = "said to be complete" + (f": {reason}" if reason else "")
    docket.note(share, "completion_asked", cause, reason=words)
    docket.put(replace(share, completion_asked_at=cause.at, updated_at=cause.at))
    return replace(study, due_at=study.seen_at), Result("done", share=share.id)


def _may(asked: ShareCommandedData) -> bool:
    return asked.actor_institution in {None, _whose(asked)}


def _whose(asked: ShareCommandedData) -> str:
    return asked.recipient if asked.command in {"accept", "refuse"} else asked.source
