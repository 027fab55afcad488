"""/audit: check the trail, and hand it out in the formats that others read."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.audit_trail.dicom_message import dicom_message
from imex.audit_trail.entry import Entry
from imex.audit_trail.fhir import audit_event
from imex.portal import audit
from imex.portal.api.access import AdminPart, CallerPart, PortalPart
from imex.portal.context import Portal
from imex.portal.queries import audit_trail
from imex.portal.scope import Caller

router = APIRouter(tags=["audit"])

Format = Literal["dicom", "fhir"]


def _as_json(entry: Entry) -> str:
    return json.dumps(audit_event(entry), ensure_ascii=False, separators=(",", ":"))


_RENDERERS: dict[Format, tuple[Callable[[Entry], str], str]] = {
    "dicom": (dicom_message, "application/xml-seq"),
    "fhir": (_as_json, "application/fhir+ndjson"),
}


@router.get("/audit/verify")
async def verify(portal: PortalPart, caller: AdminPart) -> audit_trail.Verdict:
    """Check every chain and checkpoint; the answer names the first break of each."""
    await _note(portal, caller, "verify")
    async with portal.database.engine.connect() as connection:
        return await audit_trail.verify(await _one_moment(connection))


@router.get("/audit/export", response_class=StreamingResponse)
async def export(portal: PortalPart, caller: CallerPart, format: Format = "dicom") -> StreamingResponse:
    """One record a line: what concerns the caller's institution, or everything for the administration."""
    await _note(portal, caller, format)
    render, media_type = _RENDERERS[format]

    async def lines() -> AsyncIterator[str]:
        async with portal.database.engine.connect() as connection:
            snapshot = await _one_moment(connection)
            async for entry in audit_trail.entries(snapshot, caller.scope):
                yield render(entry) + "\n"

    return StreamingResponse(lines(), media_type=media_type)


async def _note(portal: Portal, caller: Caller, what: str) -> None:
    async with portal.database.unit() as unit:
        audit.record(unit, caller, "audit_read", details={"read": what})


async def _one_moment(connection: AsyncConnection) -> AsyncConnection:
    """The trail grows while it is read: a reader sees it as it was when it began."""
    return await connection.execution_options(isolation_level="REPEATABLE READ")
