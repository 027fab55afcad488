"""/holds: studies whose images are not deleted on schedule."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import select, tuple_

from imex.db.tables.routing import holds, studies
from imex.portal import audit, commands
from imex.portal.answers import answer_to, unless_rejected
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.context import Portal
from imex.portal.problems import forbidden, not_found
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.scope import Caller

router = APIRouter(tags=["holds"])


class NewHold(BaseModel):
    """Which study, and why."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    source: str = Field(min_length=1, max_length=16, description="code of the institution that sent it")
    study_uid: str = Field(min_length=1, max_length=64)
    reason: str = Field(min_length=1, max_length=500, description="in words that name no patient")


class Hold(BaseModel):
    """A study under legal hold."""

    source: str
    study_uid: str
    reason: str
    placed_by: str
    at: AwareDatetime


class Done(BaseModel):
    """What was done."""

    source: str
    study_uid: str
    state: Literal["placed", "lifted", "pending"]


@router.get("/holds")
async def list_holds(
    portal: PortalPart, caller: CallerPart, limit: Limit = 100, after: After = None
) -> Page[Hold]:
    """Studies under legal hold that the caller's institution has sent; all of them for administrators."""
    h = holds.c
    query = select(holds).where(caller.scope.own(h.source)).order_by(h.source, h.study_uid).limit(limit + 1)
    if after is not None:
        query = query.where(tuple_(h.source, h.study_uid) > tuple(cursors.decode(after, 2)))
    async with portal.database.unit() as unit:
        audit.record(unit, caller, "shares_listed", details={"of": "holds"})
        rows = (await unit.connection.execute(query)).mappings()
        found = [Hold(**{name: row[name] for name in Hold.model_fields}) for row in rows]
    last = found[limit - 1] if len(found) > limit else None
    return Page(items=found[:limit], next=last and cursors.encode(last.source, last.study_uid))


@router.post("/holds", status_code=201, responses={202: {"model": Done}})
async def place_hold(portal: PortalPart, caller: CallerPart, wanted: NewHold, response: Response) -> Done:
    """Keep a study's images until the hold is lifted, whatever its shares say."""
    return await _command(portal, caller, wanted, "place", response)


@router.post("/holds/lift", responses={202: {"model": Done}})
async def lift_hold(portal: PortalPart, caller: CallerPart, wanted: NewHold, response: Response) -> Done:
    """Let a study's images go on schedule: also where an agreement or its purpose holds them."""
    return await _command(portal, caller, wanted, "lift", response)


async def _command(
    portal: Portal,
    caller: Caller,
    wanted: NewHold,
    command: Literal["place", "lift"],
    response: Response,
) -> Done:
    if not caller.acts_for(wanted.source):
        raise forbidden(f"You cannot decide on studies of {wanted.source}: only {wanted.source} can.")
    async with portal.database.engine.connect() as connection:
        s = studies.c
        known = await connection.scalar(
            select(s.source).where(s.source == wanted.source, s.study_uid == wanted.study_uid)
        )
    if known is None:
        raise not_found("study")
    async with portal.database.unit() as unit:
        identifier = commands.hold_study(unit, caller, command, **wanted.model_dump())
        audit.record(
            unit,
            caller,
            "hold_placed" if command == "place" else "hold_lifted",
            source=wanted.source,
            study_uid=wanted.study_uid,
            reason=wanted.reason,
        )

    result = await answer_to(portal, identifier, wanted.source)
    about = {"source": wanted.source, "study_uid": wanted.study_uid}
    if result is None:
        response.status_code = 202
        return Done(**about, state="pending")
    unless_rejected(result)
    return Done(**about, state="placed" if command == "place" else "lifted")
