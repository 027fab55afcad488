"""Legal hold, as the API lets people place and lift it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration.portal_world import NOW, World, world

from imex.db.tables import routing


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url, command_wait_s=10) as made:
        yield made


async def commanded(portal: World) -> Any:
    async with asyncio.timeout(10):
        while not (commands := await portal.outbox("commands")):  # noqa: ASYNC110 - it is a table
            await asyncio.sleep(0.01)
    return commands[0]


def about(study: str) -> dict[str, str]:
    return {"source": "RQM", "study_uid": study, "reason": "inquest"}


async def test_the_source_asks_for_a_hold_and_is_told_what_came_of_it(portal: World) -> None:
    study = await portal.study()
    async with portal.client("RQM") as api:
        asked = asyncio.create_task(api.post("/api/v1/holds", json=about(study)))
        command = await commanded(portal)
        assert (command.data.command, command.data.study_uid) == ("place", study)
        await portal.write(
            routing.command_results,
            {"command_id": command.id, "recipient": "RQM", "outcome": "done", "message": "", "at": NOW},
        )
        answer = await asked
    assert (answer.status_code, answer.json()["state"]) == (201, "placed")
    record = (await portal.audited())[-1]
    assert (record.action, record.reason) == ("hold_placed", "inquest")


async def test_what_routing_rejects_is_told_in_its_words(portal: World) -> None:
    study = await portal.study()
    async with portal.client("RQM") as api:
        asked = asyncio.create_task(api.post("/api/v1/holds", json=about(study)))
        command = await commanded(portal)
        words = {"outcome": "rejected", "message": "its images are deleted already", "at": NOW}
        await portal.write(routing.command_results, {"command_id": command.id, "recipient": "RQM", **words})
        answer = await asked
    assert (answer.status_code, answer.json()["detail"]) == (409, "Its images are deleted already.")


async def test_nobody_else_may_hold_a_study_or_see_that_one_is_held(portal: World) -> None:
    study = await portal.study()
    await portal.write(
        routing.holds,
        {"source": "RQM", "study_uid": study, "reason": "inquest", "placed_by": "anna", "at": NOW},
    )
    async with portal.client("RT3") as api:
        assert (await api.post("/api/v1/holds", json=about(study))).status_code == 403
        assert (await api.post("/api/v1/holds/lift", json=about(study))).status_code == 403
        assert (await api.get("/api/v1/holds")).json()["items"] == []
    async with portal.client("RQM") as api:
        (held,) = (await api.get("/api/v1/holds")).json()["items"]
        assert held["reason"] == "inquest"
        unknown = await api.post("/api/v1/holds", json=about("1.2.3.99"))
        assert unknown.status_code == 404
        unsaid = await api.post("/api/v1/holds", json={**about(study), "reason": " "})
        assert unsaid.status_code == 422
