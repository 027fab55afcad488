"""What the audit trail has of a person: facts go, their commitments and the chain stay."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, func, select, update

from imex.db import UnitOfWork
from imex.db.subjects import Finding, answer
from imex.db.tables.audit import common, personal, records, subject_findings
from imex.events.commands import SubjectCommanded
from imex.runtime import Message

OF_ACTORS: Final = frozenset({"user", "username", "address"})
"""Facts of those who acted, and not of whose images it was."""
_KEPT = "who looked at the images, and from where, has to be answered for"


class SubjectsHandler:
    """Handles the topic `commands`; what is for others is passed over."""

    async def __call__(self, messages: Sequence[Message], unit: UnitOfWork) -> None:
        """One batch in one transaction."""
        for message in messages:
            if isinstance(message.event, SubjectCommanded):
                await obey(unit, message.event)
        # the trail is verified by what its inbox took in; a command twice does what it did once
        taken_in = [message.event.id for message in messages]
        await unit.connection.execute(delete(common.inbox).where(common.inbox.c.event_id.in_(taken_in)))


async def obey(unit: UnitOfWork, command: SubjectCommanded) -> None:
    """Do what the command says, and answer with counts."""
    asked = command.data
    p, r = personal.c, records.c
    uids = [one.study_uid for one in asked.studies]
    gone = [one.study_uid for one in asked.studies if not one.kept]
    kept = "; ".join(sorted({one.kept for one in asked.studies if one.kept}))

    async def count(*conditions: object) -> int:
        of = select(r.event_id).where(r.study_uid.in_(uids))
        query = select(func.count()).where(p.event_id.in_(of), p.value.is_not(None), *conditions)  # type: ignore[arg-type]
        return int(await unit.connection.scalar(query) or 0)

    facts = await count(p.field.not_in(OF_ACTORS))
    actors = await count(p.field.in_(OF_ACTORS), p.event_id.not_in(asked.facts))
    own = (p.event_id.in_(asked.facts), p.field.in_(OF_ACTORS), p.value.is_not(None))
    named = int(await unit.connection.scalar(select(func.count()).where(*own)) or 0)
    if asked.command == "erase" and named:
        await unit.connection.execute(update(personal).where(*own).values(value=None))
    written = await unit.connection.scalar(select(func.count()).where(r.study_uid.in_(uids)))
    done = 0
    if asked.command == "erase" and facts:
        of = select(r.event_id).where(r.study_uid.in_(gone))
        done = (
            await unit.connection.execute(
                update(personal)
                .where(p.event_id.in_(of), p.field.not_in(OF_ACTORS), p.value.is_not(None))
                .values(value=None)
            )
        ).rowcount
    found = [
        Finding("audit.personal", facts, done, kept if done < facts else ""),
        Finding("audit.personal (of this account)", named, named if asked.command == "erase" else 0),
        Finding("audit.personal (of those who acted)", actors, 0, _KEPT),
        Finding("audit.records", int(written or 0), 0, "they name studies by UID, and prove the rest"),
    ]
    await answer(unit.connection, subject_findings, asked.subject, found)
