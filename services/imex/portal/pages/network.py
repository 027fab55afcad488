"""The directory in force, and how the network is doing."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from imex.directory import Agreement, Directory
from imex.portal import audit, health
from imex.portal.pages import directory_words
from imex.portal.pages.render import render
from imex.portal.pages.visitors import SignedInPart
from imex.portal.queries import directories
from imex.portal.scope import Scope

router = APIRouter(include_in_schema=False)


@router.get("/directory")
async def directory_page(request: Request, who: SignedInPart) -> Response:
    """Who takes part, and the agreements and rules that concern the person's institution."""
    async with who.portal.database.unit() as unit:
        applied = await directories.in_force(unit.connection)
        audit.record(unit, who.caller, "directory_read", details={"version": applied.version})
    directory = applied.directory
    return render(
        request,
        "directory.html",
        who.caller,
        applied=applied,
        words=directory_words,
        agreements=[one for one in directory.agreements if _concerns(one, directory, who.caller.scope)],
        rules=[
            rule
            for rule in directory.rules
            if who.caller.is_admin
            or who.caller.institution in _members(directory, rule.to)
            or (rule.match and who.caller.institution in _members(directory, rule.match.source or ()))
        ],
    )


def _members(directory: Directory, codes: tuple[str, ...]) -> set[str]:
    groups = {group.code: group.members for group in directory.groups}
    return {member for code in codes for member in groups.get(code, (code,))}


def _concerns(agreement: Agreement, directory: Directory, scope: Scope) -> bool:
    return scope.institution is None or scope.institution in _members(
        directory, (*agreement.from_, *agreement.to)
    )


@router.get("/network")
async def network_page(request: Request, who: SignedInPart) -> Response:
    """How every part is doing."""
    return render(request, "network.html", who.caller, health=await health.look(who.portal, who.caller.scope))
