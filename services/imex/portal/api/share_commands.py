"""Asking for a share, and changing one: routing decides, this waits for what it decides."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field

from imex.events import Sealed, study_key
from imex.events.shares import FINAL_STATES, ShareState
from imex.portal import commands
from imex.portal.answers import answer_to
from imex.portal.api.access import CallerPart, PortalPart
from imex.portal.commands import NewShare, ShareCommand
from imex.portal.context import Portal
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import directories, shares, studies
from imex.portal.scope import Caller

router = APIRouter(tags=["shares"])

ARRIVAL_S = 2.0
"""How long a study that is to be shared may still be on its way to routing."""

_OPEN: frozenset[ShareState] = frozenset({"requested", "accepted", "collecting", "delivering", "partial"})


class Pending(BaseModel):
    """Routing has not answered in time; the command is safe and will be carried out."""

    command: UUID
    status: str = "pending"


class Reason(BaseModel):
    """Why, in words that name no patient."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500)


@router.post(
    "/shares",
    status_code=201,
    responses={202: {"model": Pending, "description": "accepted; Location says where it will be"}},
)
async def create_share(
    portal: PortalPart,
    caller: CallerPart,
    wanted: NewShare,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> shares.Share | Pending:
    """Share a study of one's own. No agreement that covers it: 201 with the state `refused` and why."""
    if not caller.acts_for(wanted.source):
        raise forbidden(f"You cannot share studies of {wanted.source}: only {wanted.source} can.")

    async def arrived() -> bool | None:
        async with portal.database.engine.connect() as connection:
            return await studies.known(connection, wanted.source, wanted.study_uid) or None

    # who has just sent a study may share it at once: it is on its way to routing
    known = await commands.until(arrived, min(portal.command_wait_s, ARRIVAL_S))
    async with portal.database.unit() as unit:
        check_new(wanted, await directories.in_force(unit.connection))
        command = await commands.command_id(unit, caller, idempotency_key, wanted)
        commands.create_share(unit, caller, command, wanted, sealed_note(portal, wanted))

    result = await answer_to(portal, command, wanted.recipient)
    if result is not None and result.share is None and not known:
        raise not_found("study")
    share = await _share_of(portal, caller, result)
    if share is None:
        response.status_code = 202
        response.headers["Location"] = f"/api/v1/commands/{command}"
        return Pending(command=command)
    response.headers["Location"] = f"/api/v1/shares/{share.id}"
    return share


async def _share_of(
    portal: Portal, caller: Caller, result: shares.CommandResult | None
) -> shares.Share | None:
    if result is None:
        return None
    if result.share is None:
        raise Problem(409, result.message or "Routing could not do that.")
    async with portal.database.engine.connect() as connection:
        return await shares.get(connection, caller.scope, result.share)


def sealed_note(portal: Portal, wanted: NewShare) -> Sealed | None:
    """The note as ciphertext: people write names into notes."""
    if wanted.note is None:
        return None
    if portal.sealer is None:
        raise Problem(503, "Notes cannot be kept sealed here: the portal has no sealing keys.")
    return portal.sealer.seal({"note": wanted.note}, study_key(wanted.source, wanted.study_uid).encode())


def check_new(wanted: NewShare, applied: directories.Applied) -> None:
    """Whether the directory knows everyone that is named.

    Raises:
        Problem: 422, with the field.
    """
    known = {institution.code: institution for institution in applied.directory.institutions}
    for field in ("source", "recipient"):
        code = getattr(wanted, field)
        if code not in known:
            raise _wrong(field, f"{code!r} is no institution of the directory. See /api/v1/institutions.")
    if wanted.source == wanted.recipient:
        raise _wrong("recipient", "must be another institution than the source")
    endpoints = [endpoint.name for endpoint in known[wanted.recipient].endpoints]
    if wanted.endpoint is not None and wanted.endpoint not in endpoints:
        has = ", ".join(endpoints) or "none"
        raise _wrong("endpoint", f"{wanted.recipient} has no endpoint {wanted.endpoint!r}; it has: {has}")


def _wrong(field: str, message: str) -> Problem:
    return Problem(
        422,
        f"The request is not valid: body {field}: {message}",
        title="Invalid request",
        errors=[{"in": "body", "field": field, "message": message}],
    )


@router.get("/commands/{command}")
async def get_command(
    portal: PortalPart, caller: CallerPart, command: UUID, response: Response
) -> shares.Share | Pending:
    """What became of a command that was answered with 202: the share, or still pending."""
    async with portal.database.engine.connect() as connection:
        share = await shares.made_by(connection, caller.scope, command)
    if share is None:
        response.status_code = 202
        return Pending(command=command)
    return share


@router.post("/shares/{share}/{command}", responses={202: {"model": shares.Share}})
async def change_share(
    *,
    portal: PortalPart,
    caller: CallerPart,
    share: UUID,
    command: ShareCommand,
    response: Response,
    body: Reason | None = None,
) -> shares.Share:
    """Accept or refuse (the recipient); cancel, revoke, or say that nothing more comes (the source).

    409 when it is too late for that.
    """
    async with portal.database.unit() as unit:
        found = await shares.get(unit.connection, caller.scope, share)
        if found is None:
            raise not_found("share")
        check_change(caller, found, command)
        study = await shares.study_of(unit.connection, caller.scope, share)
        if study is None:
            raise not_found("share")
        reason = body.reason if body else ""
        made = commands.change_share(unit, caller, command, share=share, study=study, reason=reason)

    result = await answer_to(portal, made, found.recipient)
    if result is None:
        response.status_code = 202
    elif result.outcome == "rejected":
        raise Problem(409, result.message)
    async with portal.database.engine.connect() as connection:
        return await shares.get(connection, caller.scope, share) or found


def check_change(caller: Caller, share: shares.Share, command: ShareCommand) -> None:
    """Who may do it, and whether it can still be done.

    Raises:
        Problem: 403 or 409.
    """
    by_recipient = command in {"accept", "refuse"}
    entitled = share.recipient if by_recipient else share.source
    if not caller.acts_for(entitled):
        raise forbidden(f"Only {entitled} can {command} this share.")
    possible = {
        "accept": share.state == "requested",
        "refuse": share.state == "requested",
        "cancel": share.state in _OPEN,
        "revoke": share.state not in FINAL_STATES,
        "complete": share.state in {"collecting", "delivering"} and share.instances.expected is None,
    }[command]
    if not possible:
        raise Problem(409, f"The share is {share.state}, so that nobody can {command} it any more.")
