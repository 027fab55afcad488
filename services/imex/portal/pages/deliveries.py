"""Deliveries and destinations: what is being carried where, and what a PACS manager can do about it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from imex.portal import audit, commands, steering
from imex.portal.api.deliveries import viewed
from imex.portal.pages.render import render
from imex.portal.pages.visitors import OwnForm, SignedInPart
from imex.portal.problems import Problem, not_found
from imex.portal.queries import deliveries, destinations, directories
from imex.portal.scope import Caller

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 25

Reason = Annotated[str, Form(max_length=500)]


@router.get("/deliveries")
async def list_page(
    request: Request,
    who: SignedInPart,
    show: deliveries.DeliveryState = "waiting",
    after: str = "",
) -> Response:
    """Destinations, and deliveries to and from the person's institution, the newest first."""
    async with who.portal.database.unit() as unit:
        page = await deliveries.listed(
            unit.connection,
            who.caller.scope,
            state=show,
            share=None,
            recipient=None,
            limit=PAGE_SIZE,
            after=after or None,
        )
        applied = await directories.in_force(unit.connection)
        found = await destinations.listed(unit.connection, who.caller.scope, applied.directory)
        audit.record(
            unit,
            who.caller,
            "shares_listed",
            counts={"deliveries": len(page.items), "destinations": len(found)},
            details={"list": "deliveries"},
        )
    steerable = {
        (one.recipient, one.endpoint)
        for one in found
        if steering.may_steer(who.caller, one.recipient)
        and not (one.paused and one.paused_institution is None and not who.caller.is_admin)
    }
    return render(
        request,
        "deliveries.html",
        who.caller,
        page=page,
        show=show,
        destinations=found,
        steerable=steerable,
    )


@router.get("/deliveries/{delivery}")
async def delivery_page(request: Request, who: SignedInPart, delivery: UUID) -> Response:
    """One delivery: its attempts, what was asked of it, and what can be."""
    async with who.portal.database.unit() as unit:
        found = await deliveries.detail(unit.connection, who.caller.scope, delivery)
        if found is None:
            raise not_found("delivery")
        others = [
            name
            for name in await steering.endpoints_of(unit.connection, found.recipient)
            if name != found.endpoint
        ]
        viewed(unit, who.caller, found, await deliveries.study_of(unit.connection, delivery))
    return render(
        request,
        "delivery.html",
        who.caller,
        delivery=found,
        possible=possible(who.caller, found, bool(others)),
        others=others,
    )


def possible(caller: Caller, delivery: deliveries.Delivery, others: bool) -> list[steering.DeliveryWish]:
    """What the caller may ask of it now."""
    found: list[steering.DeliveryWish] = []
    for wish in steering.DELIVERY_WISHES:
        try:
            steering.check_wish(caller, delivery, wish)
        except Problem:
            continue
        if wish != "reroute" or others:
            found.append(wish)
    return found


@router.post("/deliveries/{delivery}/{wish}", dependencies=[OwnForm])
async def change_delivery(
    who: SignedInPart,
    delivery: UUID,
    wish: steering.DeliveryWish,
    reason: Reason = "",
    endpoint: Annotated[str | None, Form(max_length=64)] = None,
) -> Response:
    """Carry out one of the buttons, and show the delivery again."""
    async with who.portal.database.unit() as unit:
        before = await steering.ask_delivery(
            unit, who.caller, delivery, wish, reason.strip(), endpoint or None
        )

    async def ask() -> bool | None:
        async with who.portal.database.engine.connect() as connection:
            now = await deliveries.get(connection, who.caller.scope, delivery)
        return True if now != before else None

    await commands.until(ask, who.portal.command_wait_s)
    return RedirectResponse(f"/deliveries/{delivery}", 303)


@router.post("/destinations/{recipient}/{endpoint}/{wish}", dependencies=[OwnForm])
async def change_destination(
    who: SignedInPart,
    recipient: str,
    endpoint: str,
    wish: steering.DestinationWish,
    reason: Reason = "",
) -> Response:
    """Pause a destination, or let it go on, and show all of them again."""
    async with who.portal.database.unit() as unit:
        before = await steering.ask_destination(unit, who.caller, recipient, endpoint, wish, reason.strip())

    async def ask() -> bool | None:
        async with who.portal.database.engine.connect() as connection:
            now = await destinations.get(connection, who.caller.scope, recipient, endpoint)
        return True if now is not None and now.state != before.state else None

    await commands.until(ask, who.portal.command_wait_s)
    return RedirectResponse("/deliveries", 303)
