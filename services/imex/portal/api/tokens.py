"""/tokens: who may call the API. Administration only."""

from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imex.portal import audit
from imex.portal.api.access import AdminPart, PortalPart
from imex.portal.auth import tokens
from imex.portal.problems import Problem, not_found
from imex.portal.queries import directories
from imex.portal.queries.page import Page

router = APIRouter(tags=["tokens"])


class NewToken(BaseModel):
    """For whom a token is."""

    model_config = ConfigDict(extra="forbid")

    institution: str | None = Field(default=None, min_length=1, max_length=32, description="null: admin")
    role: Literal["admin", "institution"] | None = Field(default=None, description="by default what fits")
    label: str = Field(min_length=1, max_length=100, description="what it is for")


class Token(BaseModel):
    """A token, without what it is."""

    id: UUID
    institution: str | None
    role: str
    label: str
    created_at: AwareDatetime
    revoked_at: AwareDatetime | None


class IssuedToken(BaseModel):
    """A new token: the one time it is shown."""

    id: UUID
    token: str
    institution: str | None
    role: str
    label: str


@router.post("/tokens", status_code=201)
async def issue_token(portal: PortalPart, admin: AdminPart, wanted: NewToken) -> IssuedToken:
    """Issue a token. Only its hash is kept: write it down now."""
    role = wanted.role or ("admin" if wanted.institution is None else "institution")
    if (role == "admin") != (wanted.institution is None):
        raise Problem(422, "A token is for an institution, or has the role admin and no institution.")
    value = tokens.new_token()
    async with portal.database.unit() as unit:
        if wanted.institution is not None:
            known = (await directories.in_force(unit.connection)).directory.institutions
            if wanted.institution not in {institution.code for institution in known}:
                raise Problem(422, f"{wanted.institution!r} is no institution of the directory.")
        identifier = await tokens.store(unit.connection, value, wanted.institution, role, wanted.label)
        audit.record(
            unit,
            admin,
            "token_issued",
            recipient=wanted.institution,
            details={"issued": str(identifier), "role": role},
        )
    return IssuedToken(
        id=identifier, token=value, institution=wanted.institution, role=role, label=wanted.label
    )


@router.get("/tokens")
async def list_tokens(portal: PortalPart, admin: AdminPart) -> Page[Token]:
    """Every token, revoked ones too."""
    async with portal.database.engine.connect() as connection:
        found = await tokens.listed(connection, admin.institution)
    return Page(items=[Token.model_validate(one) for one in found], next=None)


@router.delete("/tokens/{token}", status_code=204)
async def revoke_token(portal: PortalPart, admin: AdminPart, token: UUID) -> None:
    """Take a token out of force, at once."""
    async with portal.database.unit() as unit:
        if not await tokens.revoke(unit.connection, token):
            raise not_found("token in force")
        audit.record(unit, admin, "token_revoked", details={"revoked": str(token)})
