"""Notices: shown to whom they concern, until somebody of theirs has seen to them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update
from tests.integration.portal_world import World, world

from imex.db.tables import routing


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        yield made


async def listed(portal: World, who: str, **wanted: str) -> list[dict[str, Any]]:
    async with portal.client(who) as api:
        answer = await api.get("/api/v1/notices", params=wanted)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def late(portal: World) -> tuple[str, UUID]:
    study = await portal.study()
    share = await portal.share(study, state="delivering", escalated_to="urgent")
    return study, await portal.notice(
        study, kind="escalated", share=share, recipient="RT3", reason="it is late"
    )


async def test_both_ends_of_a_share_see_that_it_is_late_and_each_acknowledges_for_itself(
    portal: World,
) -> None:
    study, notice = await late(portal)
    for who in ("RQM", "RT3", "admin"):
        (one,) = await listed(portal, who)
        assert (one["id"], one["study_uid"], one["share_state"]) == (str(notice), study, "delivering")
    async with portal.client("RT3") as api:
        answer = await api.post(f"/api/v1/notices/{notice}/acknowledge", json={"remark": "rang them"})
    assert (answer.status_code, answer.json()["remark"]) == (200, "rang them")
    assert await listed(portal, "RT3") == []
    assert [one["id"] for one in await listed(portal, "RT3", state="acknowledged")] == [str(notice)]
    assert len(await listed(portal, "RQM")) == len(await listed(portal, "admin")) == 1


async def test_what_is_stuck_concerns_its_source_and_the_administration_alone(portal: World) -> None:
    notice = await portal.notice(await portal.study())
    assert [one["id"] for one in await listed(portal, "RQM", kind="stuck")] == [str(notice)]
    assert len(await listed(portal, "admin")) == 1
    assert await listed(portal, "RT3") == []
    async with portal.client("RT3") as api:
        answer = await api.post(f"/api/v1/notices/{notice}/acknowledge")
    assert answer.status_code == 404


async def test_what_happens_again_after_it_was_acknowledged_is_open_again(portal: World) -> None:
    _, notice = await late(portal)
    async with portal.client("RQM") as api:
        await api.post(f"/api/v1/notices/{notice}/acknowledge")
    assert await listed(portal, "RQM") == []
    async with portal.database.engine.begin() as connection:
        later = datetime.now(UTC) + timedelta(seconds=5)
        await connection.execute(update(routing.notices).values(at=later))
    assert len(await listed(portal, "RQM")) == 1


async def test_the_list_goes_on_where_a_page_ends(portal: World) -> None:
    made = [await portal.notice(await portal.study()) for _ in range(3)]
    async with portal.client("RQM") as api:
        first = (await api.get("/api/v1/notices", params={"limit": 2})).json()
        rest = (await api.get("/api/v1/notices", params={"limit": 2, "after": first["next"]})).json()
    found = [one["id"] for one in (*first["items"], *rest["items"])]
    assert found == [str(one) for one in reversed(made)]
    assert rest["next"] is None


async def test_a_share_says_its_priority_as_it_is_now(portal: World) -> None:
    study, _ = await late(portal)
    async with portal.client("RQM") as api:
        (share,) = (await api.get("/api/v1/shares", params={"study_uid": study})).json()["items"]
    assert share["priority"] == "urgent"
