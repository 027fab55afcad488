"""/institutions: who takes part."""

from fastapi import APIRouter
from pydantic import BaseModel

from imex.directory import Institution
from imex.portal.api.access import CallerPart, PortalPart
from imex.portal.queries import directories
from imex.portal.queries.page import Page

router = APIRouter(tags=["institutions"])


class Member(BaseModel):
    """An institution of the directory."""

    code: str
    name: str
    kind: str
    sends: bool
    receives: bool
    endpoints: list[str]


@router.get("/institutions")
async def list_institutions(portal: PortalPart, _caller: CallerPart) -> Page[Member]:
    """Everyone in the directory in force. Names of endpoints only; addresses are not everyone's business."""
    async with portal.database.engine.connect() as connection:
        applied = await directories.in_force(connection)
    return Page(items=[_member(one) for one in applied.directory.institutions], next=None)


def _member(institution: Institution) -> Member:
    return Member(
        code=institution.code,
        name=institution.name,
        kind=institution.kind,
        sends=bool(institution.senders),
        receives=bool(institution.endpoints),
        endpoints=[endpoint.name for endpoint in institution.endpoints],
    )
