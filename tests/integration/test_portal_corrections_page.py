"""The page of recalls, the button of a share, and the banner of an inbox."""

from collections.abc import AsyncIterator

import pytest
from tests.integration.portal_world import DIRECTORY, World, csrf_of, signed_in, world


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        made.portal.command_wait_s = 0
        async with made.client() as api:
            headers = {"content-type": "text/yaml", "if-match": "*"}
            assert (await api.put("/api/v1/directory", content=DIRECTORY, headers=headers)).status_code == 200
        yield made


async def test_a_sender_recalls_from_the_page_of_a_share(portal: World) -> None:
    share = await portal.share(await portal.study())
    async with signed_in(portal, "rqm-sender") as browser:
        page = await browser.get(f"/shares/{share}")
        assert f'action="/shares/{share}/recall"' in page.text
        form = {"csrf": csrf_of(page), "why": "quality", "reason": "moved"}
        assert (await browser.post(f"/shares/{share}/recall", data=form)).status_code == 303
        wrong = await browser.post(f"/shares/{share}/recall", data={**form, "why": "because"})
        assert wrong.status_code == 422
    [command] = await portal.outbox("commands")
    assert (command.data.command, command.data.code, command.data.reason) == ("open", "113001", "moved")


async def test_what_is_outstanding_is_shown_to_both_sides(portal: World) -> None:
    study = await portal.study()
    correction = await portal.correction(study, await portal.share(study))
    async with signed_in(portal, "rqm-sender") as browser:
        page = await browser.get("/corrections")
        for words in ("Recalled by RQM", "Outstanding since", "The rejection note is there"):
            assert words in page.text
        assert f"/corrections/{correction}/acknowledge" not in page.text, "the recipient's to say"
        assert "Nothing was recalled" in (await browser.get("/corrections?show=acknowledged")).text
        assert "nobody here has seen to" not in (await browser.get("/inbox")).text
    async with signed_in(portal, "rt3-viewer") as browser:
        assert "nobody here has seen to" in (await browser.get("/inbox")).text
        page = await browser.get("/corrections")
        assert "Outstanding since" in page.text
        assert "/acknowledge" not in page.text, "an account that only looks"
