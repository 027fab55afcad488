"""/deliveries: what is being carried where, and what a person can do about one."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from imex.portal import audit, commands
from imex.portal.api.access import After, CallerPart, Limit, PortalPart
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import deliveries
from imex.portal.queries.page import Page
from imex.portal.scope import Caller

router = APIRouter(tags=["deliveries"])


class Wish(BaseModel):
    """Why, in words that name no patient."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500)


@router.get("/deliveries")
async def list_deliveries(
    *,
    portal: PortalPart,
    caller: CallerPart,
    state: deliveries.DeliveryState | None = None,
    share: UUID | None = None,
    recipient: Annotated[str | None, Query(min_length=1, max_length=32)] = None,
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
            limit=limit,
            after=after,
        )
        counts = {"deliveries": len(page.items)}
        audit.record(unit, caller, "shares_listed", counts=counts, details={"list": "deliveries"})
    return page


@router.post("/deliveries/{delivery}/{wish}", status_code=202)
async def change_delivery(
    portal: PortalPart,
    caller: CallerPart,
    delivery: UUID,
    wish: Literal["retry", "cancel"],
    body: Wish | None = None,
) -> deliveries.Delivery:
    """Try now instead of later, or give up. What was delivered stays delivered."""
    reason = body.reason if body else ""
    async with portal.database.unit() as unit:
        found = await deliveries.get(unit.connection, caller.scope, delivery)
        if found is None:
            raise not_found("delivery")
        check_wish(caller, found, wish)
        study = await deliveries.study_of(unit.connection, delivery)
        commands.change_delivery(unit, caller, wish, delivery=delivery, study=study, reason=reason)
        audit.record(
            unit,
            caller,
            "delivery_commanded",
            source=found.source,
            study_uid=study[1],
            recipient=found.recipient,
            share=found.share,
            reason=reason,
            details={"command": wish, "delivery": str(delivery)},
        )
    return found


def check_wish(caller: Caller, delivery: deliveries.Delivery, wish: Literal["retry", "cancel"]) -> None:
    """The recipient may ask for another try; giving up is the sender's to say.

    Raises:
        Problem: 403 or 409.
    """
    entitled = (delivery.source, delivery.recipient) if wish == "retry" else (delivery.source,)
    if not caller.acts_for(*entitled):
        raise forbidden(f"Only {' or '.join(entitled)} can {wish} this delivery.")
    if delivery.outcome in {"delivered", "cancelled"}:
        raise Problem(409, f"The delivery was {delivery.outcome} already.")
    if delivery.outcome == "expired":
        raise Problem(409, "The delivery has expired, and its share with it. Ask for a new share.")
