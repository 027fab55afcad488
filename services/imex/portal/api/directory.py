"""/directory: the whole directory as YAML, read and replaced. Administration only."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field

from imex.directory import DirectoryErrors, inspect, to_yaml
from imex.directory.source import MAX_BYTES
from imex.portal import audit, directory_changes
from imex.portal.api.access import AdminPart, PortalPart
from imex.portal.problems import Problem
from imex.portal.queries import directories

router = APIRouter(tags=["directory"])

YAML = "text/yaml"
JSON = "application/json"
_TYPES = {YAML, "application/yaml", "application/x-yaml", "text/x-yaml", "application/json", "text/plain", ""}


class DirectoryWarning(BaseModel):
    """What was accepted, but nobody can have meant."""

    line: int = Field(description="From 1; 0: the document as a whole")
    field: str
    message: str


class AppliedDirectory(BaseModel):
    """Which version is in force now."""

    number: int
    version: str
    changed: bool
    warnings: list[DirectoryWarning] = []


@router.get("/directory", response_class=Response, responses={200: {"content": {YAML: {}, JSON: {}}}})
async def get_directory(
    portal: PortalPart,
    admin: AdminPart,
    accept: Annotated[str, Header(description=f"{YAML} (the default) or {JSON}")] = YAML,
) -> Response:
    """The directory in force; its version is the ETag. As JSON it is the canonical document itself."""
    as_json = accept.partition(",")[0].partition(";")[0].strip().lower() == JSON
    async with portal.database.unit() as unit:
        applied = await directories.in_force(unit.connection)
        document = await directories.document_of(unit.connection, applied.number) if as_json else ""
        audit.record(unit, admin, "directory_read", details={"version": applied.version})
    headers = {"ETag": f'"{applied.version}"', "X-Directory-Number": str(applied.number)}
    if as_json:
        return Response(document, media_type=JSON, headers=headers)
    return Response(await asyncio.to_thread(to_yaml, applied.directory), media_type=YAML, headers=headers)


@router.put(
    "/directory",
    openapi_extra={"requestBody": {"required": True, "content": {YAML: {"schema": {"type": "string"}}}}},
)
async def put_directory(
    portal: PortalPart,
    admin: AdminPart,
    request: Request,
    response: Response,
    if_match: Annotated[str | None, Header(description="ETag of the version that this changes, or *")] = None,
) -> AppliedDirectory:
    """Make the body the whole directory. 412: another version came in between; 422: each error by line.

    What is accepted but cannot be meant, such as a rule that no agreement covers, is in `warnings`.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in _TYPES:
        raise Problem(415, f"Send the directory as {YAML}.")
    text = await text_of(request)
    try:
        inspected = await asyncio.to_thread(inspect, text, datetime.now(UTC))
    except DirectoryErrors as errors:
        raise invalid(errors, "nothing was changed") from None
    if if_match is None:
        raise Problem(428, "Send If-Match with the ETag of the version you changed (GET /directory), or *.")
    base = None if if_match.strip() == "*" else if_match.strip().removeprefix("W/").strip('"')
    done = await directory_changes.apply(portal.database, portal.documents, admin, inspected.directory, base)
    response.headers["ETag"] = f'"{done.version}"'
    return AppliedDirectory(
        number=done.number,
        version=done.version,
        changed=done.changed,
        warnings=[
            DirectoryWarning(line=one.line, field=one.field, message=one.message)
            for one in inspected.warnings
        ],
    )


def invalid(errors: DirectoryErrors, consequence: str) -> Problem:
    """422, with the line and field of each error."""
    found = [{"line": e.line, "field": e.field, "message": e.message} for e in errors.errors]
    count = f"{len(found)} errors" if len(found) > 1 else "1 error"
    return Problem(422, f"The directory has {count}; {consequence}.", title="Invalid directory", errors=found)


async def text_of(request: Request) -> str:
    """The body of a request as text.

    Raises:
        Problem: 413, it is too long for a directory; 422, it is no UTF-8.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise Problem(413, f"A directory has at most {MAX_BYTES // 1024 // 1024} MiB.")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Problem(422, f"The directory is not UTF-8 (byte {error.start}).") from None
