"""Requests whose studies are fetched: what each side is told of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.portal_world import DIRECTORY, NOW, World, signed_in, world
from tests.integration.test_dicomweb_reading import apply
from tests.integration.test_portal_holds import commanded

from imex.db.tables import routing
from imex.sealing import Sealer


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        yield made


async def request(portal: World, **facts: Any) -> UUID:
    """Of RT3 to RQM, granted, and nothing shared yet."""
    identifier = uuid4()
    row = {
        "id": identifier,
        "requester": "RT3",
        "holder": "RQM",
        "purpose": "direct-care",
        "priority": "routine",
        "reason": "clinic on Monday",
        "state": "open",
        "made_by": "anna",
        "made_at": NOW,
        "expires_at": NOW + timedelta(days=14),
        "granted_by": "paul",
        "granted_at": NOW,
        "grant_words": "as asked",
        "retrieval": "nothing found",
        "retrieval_words": "archive: asked in vain",
        "retrieval_order": 1,
        **facts,
    }
    await portal.write(routing.requests, row)
    return identifier


async def seen(portal: World, who: str, identifier: UUID) -> Any:
    async with portal.client(who) as api:
        shown = (await api.get(f"/api/v1/requests/{identifier}")).json()
        everything = (await api.get("/api/v1/requests")).json()["items"]
        of_state = (await api.get("/api/v1/requests", params={"state": shown["state"]})).json()["items"]
    without = {name: value for name, value in shown.items() if name != "wanted"}
    assert everything == of_state == [without]
    return shown


async def test_the_requester_learns_nothing_before_the_first_share(portal: World) -> None:
    identifier = await request(portal)
    untouched = await seen(portal, "RT3", identifier)
    told = ("state", "answer", "decided_by", "decided_at", "retrieval", "retrieval_reason", "shares")
    assert {name: untouched[name] for name in told} == {
        "state": "open",
        "answer": "",
        "decided_by": None,
        "decided_at": None,
        "retrieval": None,
        "retrieval_reason": "",
        "shares": [],
    }
    for who in ("RQM", "admin"):
        known = await seen(portal, who, identifier)
        assert (known["state"], known["answer"], known["decided_by"]) == ("granted", "as asked", "paul")
        assert (known["retrieval"], known["retrieval_reason"]) == ("nothing found", "archive: asked in vain")


async def test_only_the_holder_has_its_archives_asked_again(portal: World) -> None:
    identifier = await request(portal, retrieval="failed")
    async with portal.client("RT3") as api:
        assert (await api.post(f"/api/v1/requests/{identifier}/retry", json={})).status_code == 403
    async with portal.client("RQM") as api:
        assert (await api.post(f"/api/v1/requests/{identifier}/retry", json={})).status_code == 202
    [command] = await portal.outbox("commands")
    assert (command.data.command, command.data.request) == ("retry", identifier)
    decided = [one for one in await portal.audited() if one.action == "request_decided"]
    assert [(one.source, one.recipient) for one in decided] == [("RQM", None)]


async def test_the_page_of_the_holder_says_how_far_it_is(portal: World) -> None:
    identifier = await request(portal)
    async with signed_in(portal, "rqm-sender") as browser:
        page = await browser.get(f"/requests/{identifier}")
        assert "nothing found: archive: asked in vain" in page.text
        listed = await browser.get("/requests", params={"state": "granted"})
        assert "From the archives of RQM: nothing found" in listed.text
        assert 'action="/requests/' in page.text and "/refuse" in page.text and "/grant" not in page.text


async def test_a_request_that_routing_does_not_make_is_told_in_its_words(portal: World) -> None:
    await apply(portal, DIRECTORY)
    portal.portal.command_wait_s = 10
    portal.portal.sealer = Sealer({"k1": b"k" * 32}, "k1")
    wanted = {"holder": "RQM", "study_uid": "1.2.3", "reason": "clinic on Monday"}
    async with portal.client("RT3") as api:
        asking = asyncio.create_task(api.post("/api/v1/requests", json=wanted))
        command = await commanded(portal)
        said = {"outcome": "rejected", "message": "200 requests of RT3 to RQM are open", "at": NOW}
        await portal.write(routing.command_results, {"command_id": command.id, "recipient": "RQM", **said})
        answer = await asking
    assert (answer.status_code, answer.json()["detail"]) == (409, "200 requests of RT3 to RQM are open.")
