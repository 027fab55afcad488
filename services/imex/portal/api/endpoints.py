"""/endpoints: tests of the way to where an institution receives."""

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from imex.portal import audit, endpoint_testing
from imex.portal.api.access import CallerPart, PortalPart
from imex.portal.problems import not_found
from imex.portal.queries import endpoint_tests
from imex.portal.queries.endpoint_tests import EndpointTest
from imex.portal.queries.page import Page

router = APIRouter(tags=["endpoints"])


class Wanted(BaseModel):
    """What a test is to do."""

    model_config = ConfigDict(extra="forbid")

    send: bool = Field(default=False, description="send a small study of nobody, which stays there")


@router.post("/endpoints/{code}/{name}/tests", status_code=202)
async def test_endpoint(
    portal: PortalPart, caller: CallerPart, code: str, name: str, body: Wanted | None = None
) -> EndpointTest:
    """Test an endpoint from where deliveries are sent; its steps are there to look at while it runs."""
    return await endpoint_testing.ask(portal, caller, code, name, send=body.send if body else False)


@router.get("/endpoints/{code}/{name}/tests")
async def list_tests(portal: PortalPart, caller: CallerPart, code: str, name: str) -> Page[EndpointTest]:
    """The newest tests of an endpoint, the newest first."""
    endpoint_testing.may_see(caller, code)
    async with portal.database.unit() as unit:
        items = await endpoint_tests.of_endpoint(unit.connection, code, name)
        if not items:
            await endpoint_testing.endpoint_of(unit.connection, code, name)
        audit.record(unit, caller, "endpoint_tests_viewed", recipient=code, details={"endpoint": name})
    return Page(items=items, next=None)


@router.get("/endpoints/{code}/{name}/tests/{test}")
async def get_test(portal: PortalPart, caller: CallerPart, code: str, name: str, test: UUID) -> EndpointTest:
    """One test, with the steps that are done so far. A new one is there after a moment."""
    endpoint_testing.may_see(caller, code)
    async with portal.database.unit() as unit:
        found = await endpoint_tests.get(unit.connection, code, name, test)
        if found is None:
            raise not_found("test")
        if found.state == "done":
            audit.record(unit, caller, "endpoint_tests_viewed", recipient=code, details={"endpoint": name})
    return found
