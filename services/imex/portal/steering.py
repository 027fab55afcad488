"""Who may do what to a delivery or a destination, and asking delivery for it: for the API and the pages."""

from typing import Literal, get_args
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db import UnitOfWork
from imex.portal import audit, commands
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import deliveries, destinations, directories
from imex.portal.scope import Caller

DeliveryWish = Literal["retry", "cancel", "pause", "resume", "reroute"]
DestinationWish = Literal["pause", "resume", "retry"]
DELIVERY_WISHES: tuple[DeliveryWish, ...] = get_args(DeliveryWish)


def check_wish(caller: Caller, delivery: deliveries.Delivery, wish: DeliveryWish) -> None:
    """Refuse what is not the caller's to ask, or makes no sense now.

    The recipient may ask for another try, and where it goes in the recipient's own house is the recipient's
    to say; giving up is the sender's. Either may pause it, and whoever did lets it go on.

    Raises:
        Problem: 403 or 409.
    """
    match wish:
        case "cancel":
            entitled: tuple[str, ...] = (delivery.source,)
        case "reroute":
            entitled = (delivery.recipient,)
        case "resume":
            # one that the administration paused is the administration's to let go on
            entitled = (delivery.paused_institution,) if delivery.paused_institution else ()
        case _:
            entitled = (delivery.source, delivery.recipient)
    if not caller.acts_for(*entitled):
        who = " or ".join((*entitled, "the network's administration"))
        raise forbidden(f"Only {who} can {wish} this delivery.")
    if delivery.outcome in {"delivered", "cancelled"}:
        raise Problem(409, f"The delivery was {delivery.outcome} already.")
    if delivery.outcome == "expired":
        raise Problem(409, "The delivery has expired, and its share with it. Ask for a new share.")
    if wish == "pause" and delivery.state == "ended":
        raise Problem(409, "The delivery has ended: there is nothing to pause. Retry it to try again.")
    if wish == "pause" and delivery.paused:
        raise Problem(409, f"The delivery was paused already, by {delivery.paused_by}.")
    if wish == "resume" and not delivery.paused:
        raise Problem(409, "The delivery is not paused.")
    if wish == "retry" and delivery.paused:
        raise Problem(409, "The delivery is paused. Resume it, and it is tried at once.")


async def ask_delivery(  # noqa: PLR0917  who asks what of which
    unit: UnitOfWork,
    caller: Caller,
    delivery: UUID,
    wish: DeliveryWish,
    reason: str,
    endpoint: str | None = None,
) -> deliveries.Delivery:
    """Ask for it, with its audit record; the delivery as it is before.

    Raises:
        Problem: 403, 404, 409 or 422.
    """
    found = await deliveries.get(unit.connection, caller.scope, delivery)
    if found is None:
        raise not_found("delivery")
    check_wish(caller, found, wish)
    if wish == "reroute":
        await _check_reroute(unit.connection, found, endpoint)
    elif endpoint is not None:
        raise Problem(422, "An endpoint is said of a reroute only.")
    study = await deliveries.study_of(unit.connection, delivery)
    commands.change_delivery(
        unit, caller, wish, delivery=delivery, study=study, reason=reason, endpoint=endpoint
    )
    to = {"to_endpoint": endpoint} if endpoint else {}
    audit.record(
        unit,
        caller,
        "delivery_commanded",
        source=found.source,
        study_uid=study[1],
        recipient=found.recipient,
        share=found.share,
        reason=reason,
        details={"command": wish, "delivery": str(delivery), "endpoint": found.endpoint, **to},
    )
    return found


async def _check_reroute(
    connection: AsyncConnection, delivery: deliveries.Delivery, endpoint: str | None
) -> None:
    if endpoint is None:
        raise Problem(422, "Say to which endpoint of the recipient it is to go.")
    if endpoint == delivery.endpoint:
        raise Problem(409, f"The delivery goes to {endpoint} already.")
    names = await endpoints_of(connection, delivery.recipient)
    if endpoint not in names:
        known = ", ".join(names) or "none"
        raise Problem(
            422, f"{delivery.recipient} has no endpoint {endpoint} in the directory; there is {known}."
        )


async def endpoints_of(connection: AsyncConnection, institution: str) -> list[str]:
    """The names of an institution's endpoints in the directory in force."""
    applied = await directories.in_force(connection)
    found = next((one for one in applied.directory.institutions if one.code == institution), None)
    return [endpoint.name for endpoint in found.endpoints] if found else []


def may_steer(caller: Caller, recipient: str) -> bool:
    """A whole destination is its institution's to pause, and the administration's."""
    return caller.acts_for(recipient)


async def ask_destination(  # noqa: PLR0917  who asks what of which
    unit: UnitOfWork, caller: Caller, recipient: str, endpoint: str, wish: DestinationWish, reason: str
) -> destinations.Destination:
    """Ask for it, with its audit record; the destination as it is before.

    Raises:
        Problem: 403, 404 or 409.
    """
    found = await destinations.get(unit.connection, caller.scope, recipient, endpoint)
    own = caller.scope.institution is None or caller.scope.institution == recipient
    if found is None and own and endpoint in await endpoints_of(unit.connection, recipient):
        found = destinations.Destination(recipient=recipient, endpoint=endpoint)
    if found is None:
        raise not_found("destination")
    if not may_steer(caller, recipient):
        raise forbidden(
            f"Only {recipient} or the network's administration can {wish} {recipient}/{endpoint}."
        )
    if wish == "pause" and found.paused:
        raise Problem(409, f"{recipient}/{endpoint} was paused already, by {found.by}.")
    if wish == "resume" and not found.paused:
        raise Problem(409, f"{recipient}/{endpoint} is not paused.")
    if wish == "retry" and found.paused:
        raise Problem(409, f"{recipient}/{endpoint} is paused. Resume it, and it is tried at once.")
    if wish == "resume" and found.paused_institution is None and not caller.is_admin:
        raise forbidden(f"The network's administration paused {recipient}/{endpoint}, and lets it go on.")
    commands.change_destination(unit, caller, wish, recipient=recipient, endpoint=endpoint, reason=reason)
    audit.record(
        unit,
        caller,
        "destination_commanded",
        recipient=recipient,
        reason=reason,
        details={"command": wish, "endpoint": endpoint},
    )
    return found
