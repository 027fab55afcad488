"""Tests of endpoints in the portal: who may ask, what leaves, what is shown."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.portal_world import DIRECTORY, PASSWORD, World, world

from imex.db.tables import delivery
from imex.events.commands import EndpointCommanded

PUT = {"content-type": "text/yaml", "if-match": "*"}
STEP = {
    "name": "connection",
    "result": "failed",
    "words": "127.0.0.1:4243 refuses connections",
    "advice": "Check the port.",
    "ms": 1.5,
    "facts": {},
}


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        async with made.client() as api:
            assert (await api.put("/api/v1/directory", content=DIRECTORY, headers=PUT)).status_code == 200
        yield made


async def tested(portal: World, recipient: str = "RT3", **facts: Any) -> UUID:
    row: dict[str, Any] = {
        "id": uuid4(),
        "recipient": recipient,
        "endpoint": "pacs",
        "send": False,
        "actor": "sam",
        "state": "done",
        "outcome": "failed",
        "reason": "connection: 127.0.0.1:4243 refuses connections",
        "steps": [STEP],
    }
    await portal.write(delivery.endpoint_tests, row | facts)
    return UUID(str((row | facts)["id"]))


async def commanded(portal: World) -> list[EndpointCommanded]:
    return [one for one in await portal.outbox("commands") if isinstance(one, EndpointCommanded)]


@pytest.mark.parametrize("who", ["RT3", "admin"])
async def test_an_institution_and_the_administration_have_its_endpoint_tested(
    portal: World, who: str
) -> None:
    async with portal.client(who) as api:
        answer = await api.post("/api/v1/endpoints/RT3/pacs/tests", json={"send": True})
    assert answer.status_code == 202, answer.text
    [event] = await commanded(portal)
    assert answer.json()["id"] == str(event.data.test)
    assert (event.data.recipient, event.data.endpoint, event.data.send) == ("RT3", "pacs", True)
    assert event.key == "endpoints/RT3/pacs"
    audited = [one for one in await portal.audited() if one.action == "endpoint_tested"]
    assert [(one.recipient, one.details["endpoint"]) for one in audited] == [("RT3", "pacs")]


async def test_nobody_else_may_ask_or_see(portal: World) -> None:
    test = await tested(portal)
    async with portal.client("RQM") as api:
        for answer in (
            await api.post("/api/v1/endpoints/RT3/pacs/tests"),
            await api.get("/api/v1/endpoints/RT3/pacs/tests"),
            await api.get(f"/api/v1/endpoints/RT3/pacs/tests/{test}"),
        ):
            assert answer.status_code == 403, answer.text
            assert "4243" not in answer.text
    assert await commanded(portal) == []
    async with portal.client("RXX") as api:  # under its own name, what is another's is not found
        assert (await api.get(f"/api/v1/endpoints/RXX/pacs/tests/{test}")).status_code == 404


async def test_an_endpoint_that_the_directory_does_not_have(portal: World) -> None:
    async with portal.client("RT3") as api:
        assert (await api.post("/api/v1/endpoints/RT3/nowhere/tests")).status_code == 404
        assert (await api.get("/api/v1/endpoints/RT3/nowhere/tests")).status_code == 404


async def test_one_test_at_a_time(portal: World) -> None:
    await tested(portal, state="running", outcome=None, reason="")
    async with portal.client("RT3") as api:
        answer = await api.post("/api/v1/endpoints/RT3/pacs/tests")
    assert answer.status_code == 409
    assert "under way" in answer.json()["detail"]


async def test_of_two_who_ask_at_once_one_is_told_that_the_other_was_first(
    portal: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen that none runs; delivery takes one."""
    refused = await tested(portal, outcome="refused", reason="another test of this endpoint was under way")
    monkeypatch.setattr("imex.portal.endpoint_testing.uuid4", lambda: refused)
    async with portal.client("RT3") as api:
        answer = await api.post("/api/v1/endpoints/RT3/pacs/tests")
    assert (answer.status_code, "under way" in answer.json()["detail"]) == (409, True)


async def test_tests_are_listed_and_shown_step_by_step(portal: World) -> None:
    test = await tested(portal)
    async with portal.client("RT3") as api:
        listed = (await api.get("/api/v1/endpoints/RT3/pacs/tests")).json()["items"]
        shown = (await api.get(f"/api/v1/endpoints/RT3/pacs/tests/{test}")).json()
        assert (await api.get(f"/api/v1/endpoints/RT3/pacs/tests/{uuid4()}")).status_code == 404
    assert listed == [shown]
    assert shown["steps"] == [STEP]


async def signed_in(portal: World, api: Any, user: str) -> None:
    page = await api.get("/")
    token = page.text.split('name="csrf" value="', 1)[1].split('"', 1)[0]
    answer = await api.post("/sign-in", data={"username": user, "password": PASSWORD, "csrf": token})
    assert answer.status_code in {200, 303}, answer.text


async def test_the_page_shows_the_newest_test_and_asks_for_another(portal: World) -> None:
    await tested(portal)
    async with portal.client(None) as api:
        await signed_in(portal, api, "admin")
        listing = await api.get("/endpoints")
        assert "RT3/pacs" in listing.text
        page = await api.get("/endpoints/RT3/pacs")
        assert "127.0.0.1:4243 refuses connections" in page.text
        assert "Check the port." in page.text
        token = page.text.split('name="csrf" value="', 1)[1].split('"', 1)[0]
        refused = await api.post("/endpoints/RT3/pacs/tests", data={"send": "yes"})
        assert refused.status_code == 403
        answer = await api.post("/endpoints/RT3/pacs/tests", data={"csrf": token, "send": "yes"})
        assert answer.status_code == 303
        live = await api.get("/endpoints/RT3/pacs/live")
        assert live.status_code == 200
    assert [one.data.send for one in await commanded(portal)] == [True]
