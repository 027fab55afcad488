"""What people ask for through the API: shares, decisions, the directory."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.portal_world import DIRECTORY, NOW, World, world

from imex.db.tables import delivery, routing
from imex.directory import Directory
from imex.storage.port import StoreUnavailable

PUT = {"content-type": "text/yaml", "if-match": "*"}
NEW = {"study_uid": "1.2.3", "source": "RQM", "recipient": "RT3", "purpose": "direct-care"}


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        async with made.client() as api:
            assert (await api.put("/api/v1/directory", content=DIRECTORY, headers=PUT)).status_code == 200
        yield made


async def _routing_answers(
    portal: World, share: UUID | None, outcome: str = "done", message: str = ""
) -> Any:
    """Wait for the next command, as routing would, and say what became of it."""
    async with asyncio.timeout(10):
        while not (commands := await portal.outbox("commands")):  # noqa: ASYNC110 - it is a table
            await asyncio.sleep(0.01)
    await portal.write(
        routing.command_results,
        {
            "command_id": commands[-1].id,
            "recipient": commands[-1].data.recipient,
            "share": share,
            "outcome": outcome,
            "message": message,
        },
    )
    return commands[-1]


async def test_a_new_share_is_what_routing_made_of_it(portal: World) -> None:
    portal.portal.command_wait_s = 10
    share = await portal.share(await portal.study(study_uid="1.2.3"), state="accepted", origin="command")
    async with portal.client("RQM") as api:
        asking = asyncio.create_task(api.post("/api/v1/shares", json=NEW | {"priority": "urgent"}))
        command = await _routing_answers(portal, share)
        answer = await asking
    assert answer.status_code == 201
    assert answer.json()["id"] == str(share)
    assert answer.headers["location"] == f"/api/v1/shares/{share}"
    assert command.data.command == "create"
    assert command.data.priority == "urgent"
    assert command.data.actor_institution == "RQM"


async def test_while_routing_is_away_the_wish_is_kept(portal: World) -> None:
    async with portal.client("RQM") as api:
        answer = await api.post("/api/v1/shares", json=NEW)
        assert answer.status_code == 202
        place = answer.headers["location"]
        assert (await api.get(place)).status_code == 202
        share = await portal.share(await portal.study(study_uid="1.2.3"))
        await _routing_answers(portal, share)
        found = await api.get(place)
    assert found.status_code == 200
    assert found.json()["id"] == str(share)


async def test_a_repeat_under_one_key_is_one_command(portal: World) -> None:
    key = {"idempotency-key": "order 17"}
    async with portal.client("RQM") as api:
        first = await api.post("/api/v1/shares", json=NEW, headers=key)
        again = await api.post("/api/v1/shares", json=NEW, headers=key)
        other = await api.post("/api/v1/shares", json=NEW | {"recipient": "RXX"}, headers=key)
    assert first.json() == again.json()
    assert other.status_code == 422
    assert len({event.id for event in await portal.outbox("commands")}) == 1


async def test_a_share_that_cannot_be_is_named_field_by_field(portal: World) -> None:
    wrong: list[tuple[dict[str, Any], int]] = [
        ({"recipient": "NOBODY"}, 422),
        ({"recipient": "RQM"}, 422),
        ({"study_uid": "not a UID"}, 422),
        ({"priority": "now"}, 422),
        ({"endpoint": "fax"}, 422),
        ({"colour": "red"}, 422),
        ({"source": "RT3", "recipient": "RXX"}, 403),
    ]
    async with portal.client("RQM") as api:
        for change, status in wrong:
            answer = await api.post("/api/v1/shares", json=NEW | change)
            assert answer.status_code == status, change
        answer = await api.post("/api/v1/shares", json={})
        assert {one["field"] for one in answer.json()["errors"]} == {"study_uid", "source", "recipient"}
        assert (await api.post("/api/v1/shares", content=b"{")).status_code == 422
    assert await portal.outbox("commands") == []


async def test_what_routing_rejects_is_409_with_its_words(portal: World) -> None:
    portal.portal.command_wait_s = 10
    share = await portal.share(await portal.study(), state="collecting")
    async with portal.client("RQM") as api:
        asking = asyncio.create_task(api.post(f"/api/v1/shares/{share}/cancel", json={"reason": "mistake"}))
        await _routing_answers(portal, share, "rejected", "it was delivered a moment ago")
        answer = await asking
    assert answer.status_code == 409
    assert answer.json()["detail"] == "it was delivered a moment ago"


async def test_each_side_has_its_own_decisions(portal: World) -> None:
    asked = await portal.share(await portal.study(), state="requested")
    done = await portal.share(await portal.study(), state="delivered")
    async with portal.client("RQM") as source, portal.client("RT3") as recipient:
        assert (await source.post(f"/api/v1/shares/{asked}/accept")).status_code == 403
        assert (await recipient.post(f"/api/v1/shares/{asked}/cancel")).status_code == 403
        assert (await recipient.post(f"/api/v1/shares/{asked}/accept")).status_code == 202
        assert (await recipient.post(f"/api/v1/shares/{done}/refuse")).status_code == 409
        assert (await source.post(f"/api/v1/shares/{done}/cancel")).status_code == 409
        assert (await source.post(f"/api/v1/shares/{done}/revoke")).status_code == 202
        assert (await source.post(f"/api/v1/shares/{done}/explode")).status_code == 422
    assert [event.data.command for event in await portal.outbox("commands")] == ["accept", "revoke"]


async def test_a_held_image_is_decided_once_and_with_a_reason(portal: World) -> None:
    study = await portal.study()
    entry, fixed = await portal.held(study), await portal.held(study, releasable=False)
    over = await portal.held(study, state="released", decided_by="Robin Ash")
    async with portal.client("RQM") as api:
        shown = (await api.get(f"/api/v1/quarantine/{entry}")).json()
        assert shown["may_release"] == ["RQM", "admin"]
        assert shown["evidence"][0]["check"] == "nhs-number"
        assert (await api.post(f"/api/v1/quarantine/{entry}/release", json={})).status_code == 422
        answer = await api.post(f"/api/v1/quarantine/{entry}/release", json={"reason": "checked by phone"})
        assert answer.status_code == 202
        path = f"/api/v1/quarantine/{fixed}"
        assert (await api.post(f"{path}/release", json={"reason": "x"})).status_code == 409
        assert (await api.post(f"{path}/discard", json={"reason": "x"})).status_code == 202
        again = await api.post(f"/api/v1/quarantine/{over}/release", json={"reason": "x"})
        assert again.status_code == 409
        assert "Robin Ash" in again.json()["detail"]
        assert len((await api.get("/api/v1/quarantine?state=waiting")).json()["items"]) == 2
    commands = await portal.outbox("commands")
    assert [(one.data.command, one.data.quarantine) for one in commands] == [
        ("release", entry), ("discard", fixed)
    ]  # fmt: skip


async def test_a_delivery_can_be_tried_again_or_given_up(portal: World) -> None:
    study = await portal.study()
    share = await portal.share(study, state="delivering")
    one = await portal.delivery(share, study)
    over = await portal.delivery(share, study, state="ended", outcome="delivered")
    async with portal.client("RT3") as recipient:
        listed = (await recipient.get("/api/v1/deliveries?state=waiting")).json()["items"]
        assert [found["id"] for found in listed] == [str(one)]
        assert (await recipient.post(f"/api/v1/deliveries/{one}/cancel")).status_code == 403
        assert (await recipient.post(f"/api/v1/deliveries/{one}/retry")).status_code == 202
        assert (await recipient.post(f"/api/v1/deliveries/{over}/retry")).status_code == 409
    audited = [data for data in await portal.audited() if data.action == "delivery_commanded"]
    assert [(data.share, data.details["command"]) for data in audited] == [(share, "retry")]


async def test_who_may_pause_resume_and_reroute_a_delivery(portal: World) -> None:
    second = DIRECTORY.replace(
        "port: 4243}]", "port: 4243}, {name: archive, type: dicom, ae_title: A, host: 127.0.0.1, port: 4245}]"
    )
    async with portal.client() as admin:
        assert (await admin.put("/api/v1/directory", content=second, headers=PUT)).status_code == 200
    study = await portal.study()
    share = await portal.share(study, state="delivering")
    one = await portal.delivery(share, study)
    held = await portal.delivery(
        share, study, paused=one, paused_by="kim", paused_institution="RQM", paused_reason="wrong week"
    )
    by_admin = await portal.delivery(share, study, paused=one, paused_by="admin")
    async with portal.client("RQM") as source, portal.client("RT3") as recipient, portal.client() as admin:

        async def answered(client: Any, delivery: UUID, wish: str, **body: str) -> int:
            path = f"/api/v1/deliveries/{delivery}/{wish}"
            return int((await client.post(path, json={"reason": "why", **body})).status_code)

        assert await answered(source, one, "pause") == 202
        assert await answered(recipient, one, "pause") == 202
        assert await answered(recipient, one, "resume") == 403
        assert await answered(admin, one, "resume") == 409
        assert await answered(recipient, held, "resume") == 403
        assert await answered(source, held, "resume") == 202
        assert await answered(source, held, "retry") == 409
        assert await answered(source, by_admin, "resume") == 403
        assert await answered(admin, by_admin, "resume") == 202
        assert await answered(source, one, "reroute", endpoint="archive") == 403
        assert await answered(recipient, one, "reroute") == 422
        assert await answered(recipient, one, "reroute", endpoint="nowhere") == 422
        assert await answered(recipient, one, "reroute", endpoint="pacs") == 409
        assert await answered(recipient, one, "reroute", endpoint="archive") == 202
        assert await answered(recipient, one, "pause", endpoint="archive") == 422
        shown = (await recipient.get(f"/api/v1/deliveries/{held}")).json()
        listed = (await recipient.get("/api/v1/deliveries?paused=true&recipient=RT3&limit=5")).json()["items"]
    assert (shown["paused"], shown["paused_by"], shown["paused_reason"]) == (True, "kim", "wrong week")
    assert {found["id"] for found in listed} == {str(held), str(by_admin)}
    last = (await portal.outbox("commands"))[-1]
    assert (last.data.command, last.data.endpoint, last.data.delivery) == ("reroute", "archive", one)
    audited = [data for data in await portal.audited() if data.action == "delivery_commanded"]
    assert audited[-1].details["to_endpoint"] == "archive"


async def test_a_destination_is_paused_by_its_institution_or_the_administration(portal: World) -> None:
    study = await portal.study()
    await portal.delivery(await portal.share(study, state="delivering"), study)
    row = {"recipient": "RT3", "endpoint": "pacs"}
    await portal.write(delivery.destinations, row)
    await portal.write(delivery.queues, {**row, "source": "RQM"})
    path = "/api/v1/destinations/RT3/pacs"
    async with (
        portal.client("RQM") as source,
        portal.client("RT3") as recipient,
        portal.client("RXX") as other,
    ):
        assert (await source.post(f"{path}/pause")).status_code == 403
        assert (await other.post(f"{path}/pause")).status_code == 404
        assert (await recipient.post(f"{path}/resume")).status_code == 409
        assert (await recipient.post("/api/v1/destinations/RT3/none/pause")).status_code == 404
        assert (await recipient.post(f"{path}/pause", json={"reason": "upgrade"})).status_code == 202
        async with portal.database.engine.begin() as connection:
            await connection.execute(
                delivery.destinations.update().values(
                    paused=uuid4(), paused_by="kim", paused_institution="RT3", paused_at=NOW,
                    paused_reason="upgrade",
                )
            )  # fmt: skip
        assert (await recipient.post(f"{path}/pause")).status_code == 409
        assert (await recipient.post(f"{path}/retry")).status_code == 409
        for client in (source, recipient):
            [shown] = (await client.get("/api/v1/destinations")).json()["items"]
            assert (shown["state"], shown["reason"], shown["waiting"]) == ("paused", "upgrade", 1)
            [held] = (await client.get("/api/v1/health")).json()["destinations"]
            assert (held["recipient"], held["state"], held["reason"]) == ("RT3", "paused", "upgrade")
        assert (await other.get("/api/v1/destinations")).json()["items"] == []
        assert (await recipient.post(f"{path}/resume")).status_code == 202
    commands = await portal.outbox("commands")
    assert [(one.data.command, one.data.recipient, one.key) for one in commands] == [
        ("pause", "RT3", "destinations/RT3/pacs"),
        ("resume", "RT3", "destinations/RT3/pacs"),
    ]
    audited = [data for data in await portal.audited() if data.action == "destination_commanded"]
    assert [data.details["command"] for data in audited] == ["pause", "resume"]


async def test_the_directory_is_replaced_as_a_whole_or_not_at_all(portal: World) -> None:
    path = "/api/v1/directory"
    yaml = {"content-type": "text/yaml"}
    async with portal.client() as api:
        read = await api.get(path)
        base = read.headers["etag"]
        assert read.headers["content-type"].startswith("text/yaml")
        changed = read.text.replace("Hospital C", "Hospital See")
        done = await api.put(path, content=changed, headers=yaml | {"if-match": base})
        assert done.json()["changed"] is True
        stale = await api.put(path, content=read.text, headers=yaml | {"if-match": base})
        assert stale.status_code == 412
        assert stale.headers["content-type"] == "application/problem+json"
        same = await api.put(path, content=changed, headers=yaml | {"if-match": base})
        assert same.json() == done.json() | {"changed": False}
        assert (await api.put(path, content=changed.replace("See", "Sea"), headers=yaml)).status_code == 428
        bad = await api.put(path, content="institutions:\n  - {code: A B}\nnonsense: 1\n", headers=PUT)
        assert bad.status_code == 422
        assert all(one["line"] >= 1 and one["message"] for one in bad.json()["errors"])
        assert (await api.put(path, content=b"\xff", headers=PUT)).status_code == 422
        assert (
            await api.put(path, content="x", headers=PUT | {"content-type": "image/png"})
        ).status_code == 415
        assert (await api.get(path)).headers["etag"] == done.headers["etag"]
    applied = await portal.outbox("directory")
    assert [event.data.number for event in applied] == [1, 2]
    stored, *_ = portal.store.objects[applied[-1].data.object_key]
    assert Directory.model_validate_json(stored).institutions[2].name == "Hospital See"


async def test_what_is_accepted_but_cannot_be_meant_is_told_with_its_line(portal: World) -> None:
    path = "/api/v1/directory"
    async with portal.client() as api:
        changed = DIRECTORY.replace("to: [RT3]}", "to: [RXX]}")
        done = (await api.put(path, content=changed, headers=PUT)).json()
        assert done["changed"] is True
        (warning,) = done["warnings"]
        assert (warning["line"], warning["field"]) == (len(DIRECTORY.splitlines()), "rules[0].to[0]")
        assert "no agreement covers RQM to RXX for direct-care" in warning["message"]
        read = await api.get(path, headers={"accept": "application/json"})
        assert read.headers["etag"] == f'"{done["version"]}"'
        assert hashlib.sha256(read.content).hexdigest() == done["version"]
        assert (await api.put(path, content=read.content, headers=PUT)).json()["changed"] is False


async def test_two_changes_to_one_base_are_not_both_applied(portal: World) -> None:
    async with portal.client() as api:
        base = (await api.get("/api/v1/directory")).headers["etag"]
        headers = {"content-type": "text/yaml", "if-match": base}
        answers = await asyncio.gather(
            *(
                api.put(
                    "/api/v1/directory", content=DIRECTORY.replace("Hospital C", f"C{n}"), headers=headers
                )
                for n in range(4)
            )
        )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]


async def test_with_the_object_store_away_nothing_is_applied(portal: World) -> None:
    portal.store.failure = StoreUnavailable("away")
    async with portal.client() as api:
        changed = DIRECTORY.replace("Hospital C", "X")
        answer = await api.put("/api/v1/directory", content=changed, headers=PUT)
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert "Hospital C" in (await api.get("/api/v1/directory")).text
    assert len(await portal.outbox("directory")) == 1


async def test_a_release_that_cannot_be_says_why(portal: World) -> None:
    entry = await portal.held(await portal.study(), releasable=False, reason="other data was received before")
    async with portal.client("RQM") as api:
        answer = await api.post(f"/api/v1/quarantine/{entry}/release", json={"reason": "x"})
    assert answer.status_code == 409
    assert "other data was received before" in answer.json()["detail"]
