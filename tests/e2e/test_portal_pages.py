"""The pages in a real browser, at the width of a desk and of a telephone.

`IMEX_SCREENSHOTS=folder` keeps the pictures that the tests take.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4
from zipfile import ZipFile

import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright
from sqlalchemy import update
from tests.integration.portal_world import DIRECTORY, PASSWORD, World, world

from imex.db.tables import delivery, routing
from imex.dicom import dataset_digest
from imex.portal.auth import accounts
from imex.testing.dicom import synthetic_study

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {"desk": (1280, 900), "phone": (390, 844)}
Width = Literal["desk", "phone"]


@dataclass
class Site:
    """A portal that listens, and a browser to look at it with."""

    world: World
    url: str
    browser: Browser
    pictures: Path
    complaints: list[str] = field(default_factory=list)
    """What no page may do; looked at when the test is over."""

    async def visitor(self, width: Width = "desk", username: str | None = "rqm-sender") -> Page:
        """A new visitor, who signs in unless `username` is None."""
        wide, high = WIDTHS[width]
        context = await self.browser.new_context(viewport={"width": wide, "height": high}, locale="en-GB")
        page = await context.new_page()
        page.on("request", lambda request: self._asked(request.url))
        page.on("pageerror", lambda error: self.complaints.append(f"an error in the page: {error}"))
        page.on("console", lambda message: self._told(message.type, message.text))
        await page.goto(self.url)
        if username is not None:
            await page.get_by_label("User name").fill(username)
            await page.get_by_label("Password", exact=True).fill(PASSWORD)
            await page.get_by_role("button", name="Sign in").click()
            await page.wait_for_url("**/shares")
        return page

    async def picture(self, page: Page, name: str) -> None:
        """Keep how the whole page looks, and check that it needs no scrolling sideways."""
        await page.screenshot(path=self.pictures / f"{name}.png", full_page=True)
        overflow = await page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0, f"{name} is {overflow} pixels too wide"

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.complaints.append(f"a page loads {url}")

    def _told(self, kind: str, text: str) -> None:
        # the browser itself notes every answer of 401 or 422 as an error
        if kind == "error" and "Failed to load resource" not in text:
            self.complaints.append(f"the browser complains: {text}")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    if not CHROMIUM.exists():
        pytest.fail("Chromium is missing; run: apt-get install -y chromium")
    folder = Path(os.environ.get("IMEX_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
async def site(migrated_database_url: str, pictures: Path) -> AsyncIterator[Site]:
    async with world(migrated_database_url) as made:
        listening = socket.create_server(("127.0.0.1", 0))  # connections wait here until the server is up
        server = uvicorn.Server(uvicorn.Config(made.app, log_level="warning", lifespan="on"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        port = listening.getsockname()[1]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
            looked_at = Site(made, f"http://127.0.0.1:{port}", browser, pictures)
            yield looked_at
            await browser.close()
        server.should_exit = True
        await serving
        assert looked_at.complaints == []


async def _carried(site: Site) -> UUID:
    """Deliveries to a destination that is paused, one that is away, and one that works; one of the first."""
    made, now = site.world, datetime.now(UTC)
    paused = {"paused": uuid4(), "paused_at": now, "paused_by": "kim", "paused_institution": "RT3"}
    away = {"failures": 7, "failing_since": now, "failed_at": now, "probe_at": now, "failed_by": []}
    for endpoint, facts in (
        ("pacs", paused | {"paused_reason": "the archive moves to new storage"}),
        ("archive", away | {"failed_reason": "connection refused by 10.20.30.40 port 104"}),
        ("inbox", {}),
    ):
        place = {"recipient": "RT3", "endpoint": endpoint}
        await made.write(delivery.destinations, place | facts)
        await made.write(delivery.queues, place | {"source": "RQM"})
    study = await made.study()
    share = await made.share(study, state="delivering", confirmed=3)
    one = await made.delivery(share, study, next_attempt_at=now)
    await made.write(
        delivery.attempts,
        {"id": uuid4(), "delivery": one, "number": 1, "started_at": now, "ended_at": now,
         "outcome": "failed", "reason": "connection refused", "confirmed": 3},
    )  # fmt: skip
    await made.write(
        delivery.controls,
        {"id": uuid4(), "delivery": one, "recipient": "RT3", "endpoint": "pacs", "command": "retry",
         "actor": "rqm-sender", "institution": "RQM", "reason": "they are back"},
    )  # fmt: skip
    return one


async def _busy(site: Site) -> tuple[UUID, UUID]:
    """A network on a usual day; the share that is looked at, and an entry in quarantine."""
    made = site.world
    async with made.client() as api:
        answer = await api.put(
            "/api/v1/directory", content=DIRECTORY, headers={"content-type": "text/yaml", "if-match": "*"}
        )
        assert answer.status_code == 200, answer.text
    now = datetime.now(UTC)
    states: list[tuple[str, dict[str, Any]]] = [
        ("delivered", {}),
        ("refused", {"confirmed": 0, "agreement": None, "legal_basis": None,
                     "reason": "no agreement covers direct-care from RQM to RT3"}),
        ("failed", {"confirmed": 12, "reason": "RT3 could not be reached for 14 days"}),
        ("collecting", {"confirmed": 0, "complete": False}),
        ("delivering", {"confirmed": 61, "priority": "emergency"}),
    ]  # fmt: skip
    for age, (state, facts) in enumerate(states):
        at = {"updated_at": now - timedelta(hours=age * 9 + 1)}
        await made.share(await made.study(), state=state, **(at | facts))
    study = await made.study(received=120, validated=119, waiting=1)
    share = await made.share(
        study,
        state="partial",
        confirmed=119,
        reason="1 image is in quarantine: the NHS number's check digit is wrong",
        updated_at=now - timedelta(minutes=4),
    )
    entry = await made.held(study, created_at=now - timedelta(minutes=6))
    late = "an urgent share to RT3 is not delivered 1 d after its first instance, its objective"
    await made.notice(study, share=share, recipient="RT3", kind="escalated", reason=late)
    await made.notice(study)
    for second, (step, reason) in enumerate(
        (
            ("requested", ""),
            ("accepted", "agreement a1 covers direct-care from RQM to RT3"),
            ("received", ""),
            ("quarantined", "the NHS number's check digit is wrong"),
            ("completed", ""),
            ("attempted", "connection refused"),
            ("first_image_received", ""),
            ("partial", "1 image is in quarantine"),
        )
    ):
        await made.step(share, step, second * 7, reason)
    await made.write(
        delivery.receipts,
        {
            "delivery": uuid4(),
            "revision": 1,
            "share": share,
            "document": {
                "share": str(share),
                "revision": 1,
                "destination": {"institution": "RT3", "endpoint": "pacs"},
                "instances": [
                    {
                        "sop_instance_uid": f"{study}.1.{n}",
                        "digest": f"sha256:{n:064x}",
                        "status": "delivered",
                        "reason": "",
                        "at": now.isoformat(),
                    }
                    for n in range(1, 4)
                ],
                "complete": True,
            },
            "signature": "x",
            "digest": "sha256:0",
        },
    )
    await made.study(study_description="XR CHEST", modalities=["DX"], received=2, validated=2)
    return share, entry


@pytest.mark.parametrize("width", ["desk", "phone"])
async def test_every_page_can_be_looked_at(site: Site, width: Width) -> None:
    share, entry = await _busy(site)
    carried = await _carried(site)
    nobody = await site.visitor(width, username=None)
    await site.picture(nobody, f"{width}-1-sign-in")
    await nobody.get_by_label("User name").fill("rqm-sender")
    await nobody.get_by_label("Password", exact=True).fill("wrong")
    await nobody.get_by_role("button", name="Sign in").click()
    await nobody.get_by_role("alert").wait_for()
    await site.picture(nobody, f"{width}-2-sign-in-again")
    person = await site.visitor(width)
    pages = {
        "3-shares": "/shares",
        "4-share": f"/shares/{share}",
        "5-no-match": "/shares?q=1.2.3&state=expired",
        "5a-inbox": "/inbox",
        "5b-deliveries": "/deliveries",
        "5c-delivery": f"/deliveries/{carried}",
        "6-quarantine": "/quarantine",
        "7-held": f"/quarantine/{entry}",
        "7a-notices": "/notices",
        "7b-recalls": "/corrections",
        "7c-requests": "/requests",
        "7d-commitments": "/commitments",
        "8-studies": "/studies",
        "9a-endpoints": "/endpoints",
        "9b-endpoint": "/endpoints/RT3/pacs",
        "10-directory": "/directory",
        "11-network": "/network",
        "12-not-found": "/nothing",
    }
    for name, path in pages.items():
        await person.goto(site.url + path)
        assert await person.get_by_role("button", name="Sign out").count() == 1, path
        assert await person.locator("h1").count() == 1, path
        await site.picture(person, f"{width}-{name}")
    await person.goto(site.url + "/studies")
    await person.get_by_role("link", name="Share study").first.click()
    await site.picture(person, f"{width}-9-share-form")
    await person.get_by_role("button", name="Share", exact=True).click()
    await person.get_by_text("Choose who is to get it").first.wait_for()


async def test_a_new_network_explains_itself(site: Site) -> None:
    person = await site.visitor(username="admin")
    for name in ("shares", "deliveries", "inbox", "quarantine", "studies", "endpoints", "directory"):
        path = f"/{name}"
        await person.goto(site.url + path)
        assert await person.locator(".imex-empty").count() == 1, path
        await site.picture(person, f"empty-{name}")


async def test_a_share_page_follows_what_happens(site: Site) -> None:
    share = await site.world.share(await site.world.study(), state="delivering", confirmed=10)
    person = await site.visitor()
    await person.goto(f"{site.url}/shares/{share}")
    await person.get_by_text("10 of 120 images confirmed").wait_for()
    await site.world.step(share, "delivered", 9)
    async with site.world.database.engine.begin() as connection:
        await connection.execute(
            update(routing.shares)
            .where(routing.shares.c.id == share)
            .values(state="delivered", confirmed=120, updated_at=datetime.now(UTC))
        )
    await person.get_by_text("120 of 120 images confirmed").wait_for(timeout=10_000)
    await person.get_by_role("heading", name="Delivered", exact=True).wait_for()
    viewed = [data for data in await site.world.audited() if data.action == "share_viewed"]
    assert len(viewed) == 1, "a page that stays open is one view"


async def test_a_keyboard_is_enough(site: Site) -> None:
    await _busy(site)
    page = await site.visitor(username=None)
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent.trim()") == "Skip to main content"
    await page.get_by_label("User name").focus()
    await page.keyboard.type("rqm-sender")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/shares")
    await page.get_by_role("search").get_by_label("Study UID").focus()
    await page.keyboard.type("nothing like it")
    await page.keyboard.press("Enter")
    await page.get_by_text("No share fits that search").wait_for()


@pytest.mark.parametrize("width", ["desk", "phone"])
async def test_an_inbox_is_read_and_decided_about(site: Site, width: Width, tmp_path: Path) -> None:
    made = site.world
    await accounts_of_the_desk(made)
    now = datetime.now(UTC)
    study = synthetic_study(3, size=32, patient_name="OKONKWO^CHIDI")
    await made.study(
        study_uid=study.study_uid, received=3, patient_name="OKONKWO^CHIDI", patient_id="9434765919",
        issuer="NHS", birth_date="19710403",
    )  # fmt: skip
    share = await made.share(study.study_uid, endpoint="inbox", confirmed=3, priority="urgent")
    await made.lying(share, study.instances, at=now - timedelta(hours=1))
    given = await made.share(await made.study(), endpoint="inbox", deidentified=True, purpose="research")
    await made.lying(given, [], at=now - timedelta(days=2))
    waiting = await made.share(
        await made.study(modalities=["MR"]), state="requested", endpoint="inbox", priority="emergency",
        clinician="Dr Ahmed, neurosurgery",
    )  # fmt: skip
    person = await site.visitor(width, "rt3-desk")
    await person.get_by_role("link", name="1 share waits to be accepted").click()
    await person.get_by_role("heading", name="Waiting for you to accept").wait_for()
    await site.picture(person, f"{width}-13-inbox")
    await person.get_by_text("Refuse", exact=True).first.click()
    await person.get_by_label("Reason, without anything about the patient").fill("not for us")
    await site.picture(person, f"{width}-14-inbox-refusing")
    made.portal.command_wait_s = 0
    await person.get_by_role("button", name="Refuse", exact=True).click()
    await person.wait_for_url("**/inbox")
    refused = (await made.outbox("commands"))[-1]
    assert (refused.data.command, refused.data.reason) == ("refuse", "not for us")
    await person.get_by_role("button", name="Accept").click()
    await person.wait_for_url("**/inbox")
    accepted = (await made.outbox("commands"))[-1]
    assert (accepted.data.command, accepted.data.share) == ("accept", waiting)

    await made.step(share, "viewed", 60, "downloaded from the inbox", actor="rt3-viewer (RT3)")
    await person.get_by_role("link", name="CT HEAD").first.click()
    await person.get_by_text("OKONKWO, CHIDI").wait_for()
    await site.picture(person, f"{width}-15-inbox-study")
    async with person.expect_download() as coming:
        await person.get_by_role("link", name="Download as ZIP").click()
    copy = tmp_path / "copy.zip"
    await (await coming.value).save_as(copy)
    with ZipFile(copy) as archive:
        files = [name for name in archive.namelist() if name != "DICOMDIR"]
        assert {dataset_digest(archive.read(name)) for name in files} == set(study.digests.values())
    await person.goto(f"{site.url}/inbox/{given}")
    await person.get_by_text("who it is is not known here").wait_for()
    async with made.database.engine.begin() as connection:
        await connection.execute(
            update(routing.shares)
            .where(routing.shares.c.id == share)
            .values(state="revoked", reason="revoked: wrong patient")
        )
    await person.goto(f"{site.url}/inbox/{share}")
    await person.get_by_text(
        "was taken back, and nothing of it can be read any more: wrong patient"
    ).wait_for()
    await site.picture(person, f"{width}-16-inbox-taken-back")
    await person.goto(f"{site.url}/inbox")
    assert await person.locator(f'a[href="/inbox/{share}"]').count() == 0


async def accounts_of_the_desk(made: World) -> None:
    async with made.database.unit() as unit:
        await accounts.ensure(
            unit.connection, "rt3-desk", PASSWORD, institution="RT3", role="sender", display_name="Jo Lee"
        )
