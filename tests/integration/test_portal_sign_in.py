"""Signing in, forms, and what pages show to whom, without a browser."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest
from tests.integration.portal_world import PASSWORD, World, world

HTML = {"accept": "text/html"}


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        yield made


def _browser(portal: World) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=portal.app), base_url="http://portal.test", headers=HTML
    )


def _csrf(page: httpx2.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
    assert found
    return found.group(1)


async def _sign_in(
    browser: httpx2.AsyncClient, username: str, password: str = PASSWORD, way: str = ""
) -> httpx2.Response:
    token = _csrf(await browser.get("/", params={"next": way} if way else None))
    form = {"csrf": token, "username": username, "password": password, "next": way}
    return await browser.post("/sign-in", data=form)


async def test_every_page_but_the_first_wants_a_session(portal: World) -> None:
    async with _browser(portal) as browser:
        assert (await browser.get("/")).status_code == 200
        for path in ("/shares", "/deliveries", "/quarantine", "/studies", "/directory", "/network"):
            answer = await browser.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/?next="), path


async def test_a_session_begins_and_ends(portal: World) -> None:
    async with _browser(portal) as browser:
        answer = await _sign_in(browser, "rqm-sender", way="/quarantine?show=released")
        assert answer.headers["location"] == "/quarantine?show=released"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        page = await browser.get("/shares")
        assert "Sign out" in page.text
        assert (await browser.get("/")).headers["location"] == "/shares"
        kept = dict(browser.cookies)
        await browser.post("/sign-out", data={"csrf": _csrf(page)})
        browser.cookies.update(kept)
        assert (await browser.get("/shares")).status_code == 303, "an old cookie opens nothing"
    assert [data.action for data in await portal.audited()] == ["signed_in", "shares_listed", "signed_out"]


async def test_the_way_back_stays_within_the_portal(portal: World) -> None:
    for way in ("https://elsewhere.test/", "//elsewhere.test", "/\\elsewhere.test"):
        async with _browser(portal) as browser:
            assert (await _sign_in(browser, "rqm-sender", way=way)).headers["location"] == "/shares"


async def test_a_wrong_password_and_an_unknown_name_look_the_same(portal: World) -> None:
    async with _browser(portal) as browser:
        wrong = await _sign_in(browser, "rqm-sender", "wrong")
        unknown = await _sign_in(browser, "nobody", "wrong")
    assert wrong.status_code == unknown.status_code == 401
    assert "is not right" in wrong.text
    assert "is not right" in unknown.text
    failed = [data for data in await portal.audited() if data.action == "sign_in_failed"]
    assert len(failed) == 2
    assert "username" in failed[0].personal, "what was typed can be erased"


async def test_guessing_is_stopped(portal: World) -> None:
    async with _browser(portal) as browser:
        answers = [(await _sign_in(browser, "rqm-sender", "wrong")).status_code for _ in range(9)]
        assert answers == [401] * 8 + [429]
        assert (await _sign_in(browser, "rqm-sender")).status_code == 429, "nor is the right one tried"


async def test_a_form_from_elsewhere_does_nothing(portal: World) -> None:
    share = await portal.share(await portal.study(), state="collecting")
    entry = await portal.held(await portal.study())
    async with _browser(portal) as browser, _browser(portal) as other:
        await _sign_in(browser, "rqm-sender")
        foreign = _csrf(await other.get("/"))
        for path in (
            "/sign-in",
            "/sign-out",
            f"/shares/{share}/cancel",
            f"/quarantine/{entry}/release",
            "/studies/RQM/1.2/share",
        ):
            for form in ({}, {"csrf": "0" * 64}, {"csrf": foreign}):
                assert (await browser.post(path, data={"reason": "x", **form})).status_code == 403, path
        assert (await browser.get("/shares")).status_code == 200
    assert await portal.outbox("commands") == []


async def test_a_page_shows_only_ones_own(portal: World) -> None:
    study = await portal.study()
    share = await portal.share(study, recipient="RXX")
    entry = await portal.held(study)
    async with _browser(portal) as browser:
        await _sign_in(browser, "rt3-viewer")
        assert study not in (await browser.get("/shares")).text
        assert study not in (await browser.get("/studies")).text
        assert study not in (await browser.get("/quarantine")).text
        for path in (f"/shares/{share}", f"/shares/{share}/live", f"/quarantine/{entry}"):
            answer = await browser.get(path)
            assert answer.status_code == 404, path
            assert study not in answer.text


async def test_a_viewer_changes_nothing(portal: World) -> None:
    share = await portal.share(await portal.study(), state="requested")
    async with _browser(portal) as browser:
        await _sign_in(browser, "rt3-viewer")
        page = await browser.get(f"/shares/{share}")
        assert "/accept" not in page.text
        answer = await browser.post(f"/shares/{share}/accept", data={"csrf": _csrf(page)})
        assert answer.status_code == 403
    assert await portal.outbox("commands") == []


async def test_a_decision_needs_a_reason_and_names_who_made_it(portal: World) -> None:
    entry = await portal.held(await portal.study())
    async with _browser(portal) as browser:
        await _sign_in(browser, "rqm-sender")
        token = _csrf(await browser.get(f"/quarantine/{entry}"))
        path = f"/quarantine/{entry}/release"
        assert (await browser.post(path, data={"csrf": token, "reason": " "})).status_code == 422
        await browser.post(path, data={"csrf": token, "reason": "checked by phone"})
    (command,) = await portal.outbox("commands")
    assert (command.data.actor, command.data.reason) == ("rqm-sender", "checked by phone")


async def test_every_answer_is_guarded_by_headers(portal: World) -> None:
    async with _browser(portal) as browser:
        for path in ("/", "/nothing", "/api/v1/shares", "/static/imex.css"):
            headers = (await browser.get(path)).headers
            assert "default-src 'none'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        assert (await browser.get("/")).headers["cache-control"] == "no-store"


async def test_probes_answer_without_a_session(portal: World) -> None:
    async with _browser(portal) as browser:
        assert (await browser.get("/live")).json()["live"] is True
        assert (await browser.get("/ready")).json()["ready"] is True
        assert "imex_portal_requests_total" in (await browser.get("/metrics")).text
