"""What senders asked of Imex, and were told, as the API and the command show it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.integration.commitment_world import CT, Asking
from tests.integration.portal_world import signed_in
from tests.integration.portal_world import world as portal_world

from imex.dicom.commitment import Reference, Request
from imex.portal.commitment.answering import Answer
from imex.portal.commitment.questions import Asker
from imex.portal.commitment.settings import CommitmentSettings


@pytest.fixture
async def asking(migrated_database_url: str) -> AsyncIterator[Asking]:
    async with portal_world(migrated_database_url) as world:
        one = Asking(world, CommitmentSettings())
        await one.apply(1)
        yield one
        one.nodes.close()


async def nowhere(answer: Answer) -> None:
    """Tells nobody, and says that it did."""


async def test_an_institution_sees_what_it_asked_and_why_it_was_refused(asking: Asking) -> None:
    written = await asking.study(1)
    wanted = (*written.references, Reference(CT, "2.25.9"))
    ids = []
    for institution in ("RQM", "RXX"):
        asker = Asker(institution, f"{institution}_PACS", "IMEX")
        _, question = await asking.commitments.take(asker, Request("2.25.1", wanted), patience=timedelta())
        ids.append(question)
    assert await asking.commitments.answer_now(ids[0], nowhere)

    async with asking.portal.client("RQM") as api:
        [one] = (await api.get("/api/v1/commitments")).json()["items"]
        assert (one["institution"], one["state"], one["instances"]) == ("RQM", "reported", 2)
        assert (one["committed"], one["refused"]) == (1, 1)
        whole = (await api.get(f"/api/v1/commitments/{one['id']}")).json()
        assert [(line["answer"], line["failure_reason"]) for line in whole["lines"]] == [
            ("committed", None),
            ("refused", "0112"),
        ]
        assert whole["lines"][1]["reason"] == "it was not received from you"
        assert (await api.get(f"/api/v1/commitments/{ids[1]}")).status_code == 404
        assert (await api.get("/api/v1/commitments", params={"state": "open"})).json()["items"] == []
    async with asking.portal.client("admin") as api:
        first = (await api.get("/api/v1/commitments", params={"limit": 1})).json()
        rest = (await api.get("/api/v1/commitments", params={"after": first["next"]})).json()
        assert {one["institution"] for one in first["items"] + rest["items"]} == {"RQM", "RXX"}
        open_one = (await api.get("/api/v1/commitments", params={"state": "open"})).json()["items"][0]
        assert (open_one["committed"], open_one["refused"]) == (None, None)
    viewed = [one for one in await asking.portal.audited() if one.action == "commitments_viewed"]
    assert [one.actor.id for one in viewed] == ["RQM", "RQM", "RQM", "admin", "admin", "admin"]


async def test_the_pages_say_what_was_asked_and_why_it_was_refused(asking: Asking) -> None:
    written = await asking.study(1)
    wanted = (*written.references, Reference(CT, "2.25.9"))
    ids = []
    for number, institution in enumerate(("RQM", "RQM", "RXX")):
        asker = Asker(institution, f"{institution}_PACS", "IMEX")
        request = Request(f"2.25.{number + 1}", wanted)
        ids.append((await asking.commitments.take(asker, request, patience=timedelta()))[1])
    assert await asking.commitments.answer_now(ids[0], nowhere)
    async with signed_in(asking.portal, "rqm-sender") as browser:
        assert "/commitments" in (await browser.get("/deliveries")).text
        page = (await browser.get("/commitments")).text
        assert "1 committed, 1 refused" in page
        assert "not decided yet" in page
        assert "RXX" not in page
        told = (await browser.get(f"/commitments/{ids[0]}")).text
        assert "Refused (0112): it was not received from you" in told
        assert "The sender was told" in told
        assert "Not decided yet" in (await browser.get(f"/commitments/{ids[1]}")).text
        assert (await browser.get(f"/commitments/{ids[2]}")).status_code == 404
    viewed = [one for one in await asking.portal.audited() if one.action == "commitments_viewed"]
    assert len(viewed) == 3
