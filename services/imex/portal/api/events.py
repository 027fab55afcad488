"""/events: the change feed, gap-free and replayable from any point."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from imex.events import TOPICS
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.problems import Problem
from imex.portal.queries import feed

router = APIRouter(tags=["events"])


class FeedPage(BaseModel):
    """Events of the feed; `next` is there even when nothing follows yet."""

    items: list[dict[str, Any]] = Field(description="share events as partners get them: CloudEvents 1.0")
    next: str


@router.get("/events")
async def list_events(
    portal: PortalPart,
    caller: CallerPart,
    event_type: Annotated[
        str | None, Query(alias="type", max_length=100, description="such as imex.share.delivered")
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> FeedPage:
    """Share events of the caller's institution in their order. Ask again with `next` as `after`."""
    _known(event_type)
    async with portal.database.engine.connect() as connection:
        items, position = await feed.after(
            connection, caller.scope, feed.position_of(after), limit, event_type
        )
    return FeedPage(items=items, next=feed.cursor_of(position))


def _known(event_type: str | None) -> None:
    known = [cls.type_name() for topic in TOPICS if topic.name == "shares" for cls in topic.events]
    if event_type is not None and event_type not in known:
        raise Problem(422, f"There is no event type of that name. Known are: {', '.join(known)}.")
