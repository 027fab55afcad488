"""/audit: checking the trail, and handing it out."""

import json
from collections.abc import AsyncIterator
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from imex.audit_trail.dicom_message import dicom_message
from imex.audit_trail.entry import Entry
from imex.audit_trail.fhir import audit_event
from imex.portal import audit
from imex.portal.api.access import CallerPart, PortalPart
from imex.portal.context import Portal
from imex.portal.queries import trail
from imex.portal.scope import Scope

router = APIRouter(tags=["audit"])

Format = Literal["dicom", "fhir"]
_TYPES: dict[Format, str] = {"dicom": "application/xml; charset=utf-8", "fhir": "application/fhir+ndjson"}


class ChainBreak(BaseModel):
    """Where a chain does not hold."""

    chain: str
    sequence: int
    problem: str


class Verification(BaseModel):
    """Whether the trail is whole."""

    ok: bool
    records: int
    partitions: int
    checkpoints: int
    first_break: ChainBreak | None
    breaks: list[ChainBreak]


@router.get("/audit/verify")
async def verify(portal: PortalPart, _caller: CallerPart) -> Verification:
    """Check every chain and every checkpoint: an edit, a deletion and a cut tail show."""
    async with portal.database.engine.connect() as plain:
        # one snapshot: records that come in meanwhile must not look like a break
        connection = await plain.execution_options(isolation_level="REPEATABLE READ")
        verifier, breaks, partitions, checkpoints = await trail.verify(connection)
    found = [ChainBreak(chain=one.chain, sequence=one.sequence, problem=one.problem) for one in breaks]
    return Verification(
        ok=not found,
        records=verifier.records,
        partitions=partitions,
        checkpoints=checkpoints,
        first_break=found[0] if found else None,
        breaks=found,
    )


@router.get(
    "/audit/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/xml": {}, "application/fhir+ndjson": {}}}},
)
async def export(portal: PortalPart, caller: CallerPart, format: Format = "dicom") -> Response:
    """One record a line: DICOM audit messages (PS3.15 A.5), or FHIR R4 AuditEvents."""
    async with portal.database.unit() as unit:
        audit.record(unit, caller, "audit_read", details={"format": format})
    return StreamingResponse(_lines(portal, caller.scope, format), media_type=_TYPES[format])


async def _lines(portal: Portal, scope: Scope, form: Format) -> AsyncIterator[str]:
    async with portal.database.engine.connect() as plain:
        connection = await plain.execution_options(isolation_level="REPEATABLE READ")
        async for entry in trail.entries(connection, scope):
            yield _line(entry, form) + "\n"


def _line(entry: Entry, form: Format) -> str:
    if form == "dicom":
        return dicom_message(entry)
    return json.dumps(audit_event(entry), ensure_ascii=False, separators=(",", ":"))
