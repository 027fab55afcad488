"""Who calls the API, and with which parameters."""

from collections import Counter
from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from imex.portal.auth import tokens
from imex.portal.context import Portal, portal_of
from imex.portal.problems import Problem, forbidden
from imex.portal.scope import Caller
from imex.sealing import Sealer

_bearer = HTTPBearer(auto_error=False, description="A token of `POST /tokens`")

PortalPart = Annotated[Portal, Depends(portal_of)]


def sealer_of(portal: Portal) -> Sealer:
    """What identifiers are sealed with before they leave.

    Raises:
        Problem: 503, the portal has no keys.
    """
    if portal.sealer is None:
        raise Problem(503, "Identifiers cannot be sealed here. Set IMEX_SEALING_KEYS.")
    return portal.sealer


async def _caller(
    request: Request, portal: PortalPart, _documented: Annotated[object, Depends(_bearer)]
) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not token:
        raise _unauthorised("Send `Authorization: Bearer <token>`.", "")
    if scheme.lower() != "bearer":
        raise _unauthorised("The only scheme is Bearer.", "")
    async with portal.database.engine.connect() as connection:
        caller = await tokens.caller_of(connection, token.strip())
    if caller is None:
        raise _unauthorised("The token is unknown or has been revoked.", ', error="invalid_token"')
    return caller


def _unauthorised(detail: str, error: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": f'Bearer realm="imex"{error}'})


CallerPart = Annotated[Caller, Depends(_caller)]


def _admin(caller: CallerPart) -> Caller:
    if not caller.is_admin:
        raise forbidden("Only the network's administration may do this.")
    return caller


AdminPart = Annotated[Caller, Depends(_admin)]


def known_parameters(request: Request) -> None:
    """Refuse a parameter that the operation does not have: a misspelt filter must not widen an answer."""
    route = request.scope["route"]
    if not isinstance(route, APIRoute):
        return
    params = get_flat_params(route.dependant)
    known = {param.alias for param in params if param.field_info.__class__.__name__ == "Query"}
    given = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in given.items():
        if name not in known:
            words = f"Known are: {', '.join(sorted(known))}." if known else "It takes none."
            raise Problem(
                422, f"There is no parameter {name[:60]!r} here. {words}", title="Unknown parameter"
            )
        if times > 1:
            raise Problem(422, f"The parameter {name!r} may be given once only.", title="Repeated parameter")


Limit = Annotated[int, Query(ge=1, le=1000, description="at most so many items")]
After = Annotated[str | None, Query(min_length=1, max_length=500, description="`next` of the page before")]
