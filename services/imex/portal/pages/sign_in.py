"""Signing in and out: the first page."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.observability import names
from imex.portal import audit
from imex.portal.auth import accounts, sessions
from imex.portal.context import Portal, portal_of
from imex.portal.pages.render import render
from imex.portal.pages.visitors import OwnForm, SignedInPart, caller_of

router = APIRouter(include_in_schema=False)

HOME = "/shares"


def _way_back(wanted: str) -> str:
    """Only ways within the portal: an address of another site is not followed."""
    inside = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and "\\" not in wanted
    return wanted if inside and wanted != "/" else HOME


@router.get("/")
async def first_page(request: Request, next: str = "") -> Response:
    """The sign-in form; shares for those who have signed in."""
    if await caller_of(request) is not None:
        return RedirectResponse(_way_back(next), 303)
    return render(request, "sign_in.html", None, next=next, username="", problem="")


@router.get("/sign-in")
async def back_to_the_form(next: str = "") -> Response:
    """Where a browser comes that reloads the answer to a wrong password."""
    return RedirectResponse(f"/?{urlencode({'next': next})}" if next else "/", 303)


@router.post("/sign-in", dependencies=[OwnForm])
async def sign_in(
    request: Request,
    username: Annotated[str, Form(max_length=100)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Open a session, or say that name and password do not fit."""
    portal = portal_of(request)
    username = username.strip()
    address = request.client.host if request.client else "unknown"

    def again(problem: str, status: int) -> Response:
        page = {"next": next, "username": username, "problem": problem}
        return render(request, "sign_in.html", None, status, **page)

    if not username or not password:
        return again("Enter your user name and your password", 422)
    if not await portal.attempts.allowed(username, address):
        _count(portal, "limited")
        return again("Too many attempts. Wait 5 minutes, then try again", 429)
    async with portal.database.engine.connect() as connection:
        caller = await accounts.verified(connection, username, password)
    if caller is None:
        await portal.attempts.failed(username, address)
        await _record_failure(portal, username, address)
        _count(portal, "failed")
        return again("The user name or the password is not right", 401)
    async with portal.database.unit() as unit:
        cookie = await sessions.open_session(unit.connection, caller, portal.settings.session_hours)
        audit.record(unit, caller, "signed_in", personal={"address": address})
    _count(portal, "succeeded")
    response = RedirectResponse(_way_back(next), 303)
    response.set_cookie(
        sessions.COOKIE,
        cookie,
        max_age=portal.settings.session_hours * 3600,
        httponly=True,
        samesite="lax",
        secure=not portal.settings.local,
    )
    return response


@router.post("/sign-out", dependencies=[OwnForm])
async def sign_out(request: Request, who: SignedInPart) -> Response:
    """End the session."""
    async with who.portal.database.unit() as unit:
        await sessions.close_session(unit.connection, request.cookies.get(sessions.COOKIE, ""))
        audit.record(unit, who.caller, "signed_out")
    response = RedirectResponse("/", 303)
    response.delete_cookie(sessions.COOKIE)
    return response


async def _record_failure(portal: Portal, username: str, address: str) -> None:
    """The name is kept as a personal fact: people type passwords into that field, so it can be erased."""
    identifier: UUID = uuid4()
    async with portal.database.unit() as unit:
        unit.publish(
            AuditRecorded.of(
                id=identifier,
                subject="sign_in_failed",
                data=AuditRecordedData(
                    action="sign_in_failed",
                    outcome="refused",
                    actor=Actor(kind="unknown", id="unknown"),
                    reason="user name or password wrong",
                    personal={"username": username, "address": address},
                ),
            )
        )


def _count(portal: Portal, outcome: str) -> None:
    portal.metrics.counter(names.PORTAL_SIGN_INS).labels(outcome=outcome).inc()
