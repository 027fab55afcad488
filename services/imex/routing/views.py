"""Readings of shares in inboxes, which the portal reports: a step of the timeline, and partners are told."""

from collections.abc import Mapping, Sequence
from typing import Final

from imex.db import UnitOfWork
from imex.events.commands import ViewReported
from imex.routing import publish
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.surroundings import Surroundings

WORDS: Final[Mapping[str, str]] = {"opened": "opened in the inbox", "downloaded": "downloaded from the inbox"}


async def tell(unit: UnitOfWork, views: Sequence[ViewReported], around: Surroundings) -> None:
    """Tell of readings by the recipients' own people; of what else is reported nothing comes.

    It changes nothing of a share, and is told whatever has become of it since.
    """
    repository = Repository(unit.connection)
    known = await repository.lock_studies({(one.data.source, one.data.study_uid) for one in views})
    docket = Docket(unit, repository, await repository.shares_of(known), around.moved)
    for view in views:
        told = view.data
        share = docket.get(told.share)
        if share is None or share.study != (told.source, told.study_uid):
            continue
        if share.recipient != told.actor_institution:
            continue
        cause = Cause(view.id, view.time, publish.person(told.actor, told.actor_institution))
        docket.note(share, "viewed", cause, reason=WORDS[told.how])
        docket.announce(share, "viewed", cause, {"by": told.actor_institution, "how": told.how})
    await docket.write()
