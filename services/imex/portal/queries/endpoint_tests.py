"""Tests of endpoints, as delivery carries them out and writes them down."""

from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.delivery import endpoint_tests

State = Literal["waiting", "running", "done"]


class TestStep(BaseModel):
    """One step: what was found, and what to do about it."""

    name: str
    result: Literal["ok", "warning", "failed", "skipped"]
    words: str
    advice: str = ""
    ms: float | None = Field(default=None, description="how long it took; None where nothing was done")
    facts: dict[str, Any] = Field(
        default={}, description="addresses, the certificate, what is accepted, rates"
    )


class EndpointTest(BaseModel):
    """One test of an endpoint."""

    id: UUID
    recipient: str = Field(description="whose endpoint it is")
    endpoint: str
    send: bool = Field(description="whether a study of nobody was to be sent")
    actor: str
    state: State
    outcome: Literal["passed", "failed", "refused", "broken off"] | None = None
    reason: str = ""
    steps: list[TestStep] = []
    requested_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None


async def of_endpoint(
    connection: AsyncConnection, code: str, endpoint: str, limit: int = 20
) -> list[EndpointTest]:
    """Tests of one endpoint, the newest first. Who may see them is for the caller to have checked."""
    t = endpoint_tests.c
    rows = await connection.execute(
        select(endpoint_tests)
        .where(t.recipient == code, t.endpoint == endpoint)
        .order_by(t.requested_at.desc(), t.id)
        .limit(limit)
    )
    return [EndpointTest.model_validate(dict(row)) for row in rows.mappings()]


async def get(connection: AsyncConnection, code: str, endpoint: str, test: UUID) -> EndpointTest | None:
    """One test of this endpoint, if delivery knows it yet."""
    t = endpoint_tests.c
    found = await connection.execute(
        select(endpoint_tests).where(t.id == test, t.recipient == code, t.endpoint == endpoint)
    )
    row = found.mappings().one_or_none()
    return None if row is None else EndpointTest.model_validate(dict(row))


async def newest(connection: AsyncConnection, code: str | None) -> dict[tuple[str, str], EndpointTest]:
    """The newest test of each endpoint of an institution, or of all."""
    t = endpoint_tests.c
    query = (
        select(endpoint_tests)
        .ext(distinct_on(t.recipient, t.endpoint))
        .order_by(t.recipient, t.endpoint, t.requested_at.desc())
    )
    if code is not None:
        query = query.where(t.recipient == code)
    rows = (await connection.execute(query)).mappings()
    return {(row["recipient"], row["endpoint"]): EndpointTest.model_validate(dict(row)) for row in rows}
