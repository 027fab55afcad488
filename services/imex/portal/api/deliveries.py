"""/deliveries: what is being carried where, and what a person can do about one."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from imex.db import UnitOfWork
from imex.portal import audit, steering
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.problems import not_found
from imex.portal.queries import deliveries, destinations, directories
from imex.portal.queries.page import Page
from imex.portal.scope import Caller

router = APIRouter(tags=["deliveries"])

Recipient = Annotated[str | None, Query(min_length=1, max_length=32)]


class Wish(BaseModel):
    """Why, in words that name no patient."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500)


class DeliveryWish(Wish):
    """Why, and where to."""

    endpoint: str | None = Field(
        default=None, min_length=1, max_length=64, description="of a reroute: another one of the recipient's"
    )


@router.get("/deliveries")
async def list_deliveries(
    *,
    portal: PortalPart,
    caller: CallerPart,
    state: deliveries.DeliveryState | None = None,
    share: UUID | None = None,
    recipient: Recipient = None,
    endpoint: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    paused: bool | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[deliveries.Delivery]:
    """Deliveries to or from the caller's institution, the newest first."""
    async with portal.database.unit() as unit:
        page = await deliveries.listed(
            unit.connection,
            caller.scope,
            state=state,
            share=share,
            recipient=recipient,
            endpoint=endpoint,
            paused=paused,
            limit=limit,
            after=after,
        )
        counts = {"deliveries": len(page.items)}
        audit.record(unit, caller, "shares_listed", counts=counts, details={"list": "deliveries"})
    return page


@router.get("/deliveries/{delivery}")
async def get_delivery(portal: PortalPart, caller: CallerPart, delivery: UUID) -> deliveries.DeliveryDetail:
    """One delivery: each attempt, and what people asked of it."""
    async with portal.database.unit() as unit:
        found = await deliveries.detail(unit.connection, caller.scope, delivery)
        if found is None:
            raise not_found("delivery")
        viewed(unit, caller, found, await deliveries.study_of(unit.connection, delivery))
    return found


def viewed(unit: UnitOfWork, caller: Caller, delivery: deliveries.Delivery, study: tuple[str, str]) -> None:
    """The audit record of a look at one delivery."""
    audit.record(
        unit,
        caller,
        "delivery_viewed",
        source=study[0],
        study_uid=study[1],
        recipient=delivery.recipient,
        share=delivery.share,
        details={"delivery": str(delivery.id)},
    )


@router.post("/deliveries/{delivery}/{wish}", status_code=202)
async def change_delivery(
    portal: PortalPart,
    caller: CallerPart,
    delivery: UUID,
    wish: steering.DeliveryWish,
    body: DeliveryWish | None = None,
) -> deliveries.Delivery:
    """Try now instead of later, give up, pause, resume, or send to another endpoint of the recipient.

    What was delivered stays delivered.
    """
    asked = body or DeliveryWish()
    async with portal.database.unit() as unit:
        return await steering.ask_delivery(unit, caller, delivery, wish, asked.reason, asked.endpoint)


@router.get("/destinations")
async def list_destinations(
    portal: PortalPart, caller: CallerPart, recipient: Recipient = None
) -> Page[destinations.Destination]:
    """Endpoints of the caller's institution and those it sends to, the ones that take nothing first."""
    async with portal.database.unit() as unit:
        applied = await directories.in_force(unit.connection)
        found = await destinations.listed(unit.connection, caller.scope, applied.directory)
        audit.record(unit, caller, "destinations_listed", counts={"destinations": len(found)})
    return Page(items=[one for one in found if recipient in {None, one.recipient}], next=None)


@router.post("/destinations/{recipient}/{endpoint}/{wish}", status_code=202)
async def change_destination(
    *,
    portal: PortalPart,
    caller: CallerPart,
    recipient: Annotated[str, Path(max_length=32)],
    endpoint: Annotated[str, Path(max_length=64)],
    wish: steering.DestinationWish,
    body: Wish | None = None,
) -> destinations.Destination:
    """Pause everything that goes there, let it go on, or ask again at once one that is away."""
    reason = body.reason if body else ""
    async with portal.database.unit() as unit:
        return await steering.ask_destination(unit, caller, recipient, endpoint, wish, reason)
