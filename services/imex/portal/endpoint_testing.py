"""Asking for a test of an endpoint: who may, whether there is such a one, and one at a time."""

from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from imex.directory.model import Endpoint
from imex.events.commands import EndpointCommanded, EndpointCommandedData
from imex.portal import audit, commands
from imex.portal.context import Portal
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import directories, endpoint_tests
from imex.portal.queries.endpoint_tests import EndpointTest
from imex.portal.scope import Caller


def may_see(caller: Caller, code: str) -> None:
    """An endpoint's addresses, certificates and troubles are its institution's own.

    Raises:
        Problem: 403.
    """
    if caller.scope.institution not in {None, code}:
        raise forbidden(f"Only {code} and the network's administration may see tests of its endpoints.")


async def endpoint_of(connection: AsyncConnection, code: str, name: str) -> Endpoint:
    """The endpoint in the directory in force. Raises Problem: 404."""
    applied = await directories.in_force(connection)
    for institution in applied.directory.institutions:
        if institution.code == code:
            for endpoint in institution.endpoints:
                if endpoint.name == name:
                    return endpoint
    raise not_found("endpoint")


async def ask(portal: Portal, caller: Caller, code: str, name: str, *, send: bool) -> EndpointTest:
    """Have an endpoint tested; the test as far as it is known when delivery has taken it up.

    Raises:
        Problem: 403, 404, or 409 while another test of it is under way.
    """
    may_see(caller, code)
    if not caller.acts_for(code):
        raise forbidden(f"Only those who act for {code} can have its endpoints tested.")
    test = uuid4()
    async with portal.database.unit() as unit:
        await endpoint_of(unit.connection, code, name)
        before = await endpoint_tests.of_endpoint(unit.connection, code, name, 1)
        if before and before[0].state != "done":
            raise _under_way()
        unit.publish(
            EndpointCommanded.of(
                id=test,
                subject=f"endpoint/{code}/{name}",
                data=EndpointCommandedData(
                    command="test",
                    test=test,
                    recipient=code,
                    endpoint=name,
                    send=send,
                    actor=caller.name,
                    actor_institution=caller.institution,
                ),
            )
        )
        details = {"endpoint": name, "test": str(test), "send": "yes" if send else "no"}
        audit.record(unit, caller, "endpoint_tested", recipient=code, details=details)

    async def look() -> EndpointTest | None:
        return await found(portal, code, name, test)

    taken = await commands.until(look, portal.command_wait_s)
    if taken is not None and taken.outcome == "refused":
        raise _under_way()  # somebody else was first
    return taken or EndpointTest(
        id=test, recipient=code, endpoint=name, send=send, actor=caller.name, state="waiting"
    )


def _under_way() -> Problem:
    return Problem(409, "A test of this endpoint is under way. Look at it, or ask again when it is done.")


async def found(portal: Portal, code: str, name: str, test: UUID) -> EndpointTest | None:
    """A test, once delivery knows it."""
    async with portal.database.engine.connect() as connection:
        return await endpoint_tests.get(connection, code, name, test)
