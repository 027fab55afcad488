"""The pages of deliveries and destinations: what is shown to whom, and that the buttons ask."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.integration.portal_world import DIRECTORY, NOW, World, csrf_of, signed_in, world

from imex.db.tables import delivery


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        async with made.client() as api:
            headers = {"content-type": "text/yaml", "if-match": "*"}
            assert (await api.put("/api/v1/directory", content=DIRECTORY, headers=headers)).status_code == 200
        yield made


async def test_a_sender_sees_why_nothing_goes_and_pauses_a_delivery(portal: World) -> None:
    study = await portal.study()
    one = await portal.delivery(await portal.share(study, state="delivering"), study)
    place = {"recipient": "RT3", "endpoint": "pacs"}
    paused = {"paused": uuid4(), "paused_by": "kim", "paused_at": NOW, "paused_reason": "new storage"}
    await portal.write(delivery.destinations, place | paused)
    await portal.write(delivery.queues, place | {"source": "RQM"})
    async with signed_in(portal, "rqm-sender") as browser:
        for path in ("/deliveries", "/notices", "/network"):
            page = await browser.get(path)
            assert page.status_code == 200, path
            assert "new storage" in page.text, path
        assert "/destinations/RT3/pacs/" not in (await browser.get("/deliveries")).text
        page = await browser.get(f"/deliveries/{one}")
        assert "The destination is paused" in page.text
        assert f"/deliveries/{one}/reroute" not in page.text, "the recipient's to say"
        form = {"csrf": csrf_of(page), "reason": "the wrong week"}
        assert (await browser.post(f"/deliveries/{one}/pause", data=form)).status_code == 303
        assert (await browser.post("/destinations/RT3/pacs/resume", data=form)).status_code == 403
        assert (await browser.post(f"/deliveries/{one}/pause", data={"reason": "x"})).status_code == 403
    [command] = await portal.outbox("commands")
    assert (command.data.command, command.data.reason, command.data.actor) == (
        "pause",
        "the wrong week",
        "rqm-sender",
    )


async def test_the_administration_resumes_a_destination(portal: World) -> None:
    place = {"recipient": "RT3", "endpoint": "pacs"}
    paused = {"paused": uuid4(), "paused_by": "kim", "paused_at": NOW, "paused_reason": "new storage"}
    await portal.write(delivery.destinations, place | paused)
    async with signed_in(portal, "admin") as browser:
        page = await browser.get("/deliveries")
        assert 'action="/destinations/RT3/pacs/resume"' in page.text
        form = {"csrf": csrf_of(page), "reason": ""}
        assert (await browser.post("/destinations/RT3/pacs/resume", data=form)).status_code == 303
    [command] = await portal.outbox("commands")
    assert (command.type, command.data.command) == ("imex.destination.commanded", "resume")


async def test_a_viewer_has_no_buttons(portal: World) -> None:
    study = await portal.study()
    one = await portal.delivery(await portal.share(study, state="delivering"), study)
    async with signed_in(portal, "rt3-viewer") as browser:
        page = await browser.get(f"/deliveries/{one}")
        assert page.status_code == 200
        assert f"/deliveries/{one}/" not in page.text
