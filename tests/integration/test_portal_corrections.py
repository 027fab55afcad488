"""Recalls and corrections in the portal: who opens them, who sees what of them, who acknowledges."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update
from tests.integration.portal_world import NOW, World, world

from imex.db.tables import delivery, routing
from imex.sealing import Sealer


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url, command_wait_s=10) as made:
        made.portal.sealer = Sealer({"k1": b"k" * 32}, "k1")
        yield made


async def answered(portal: World, asking: Any, outcome: str = "done", message: str = "") -> tuple[Any, Any]:
    """The command that a request has made, and the request's answer once routing has answered."""
    asked = asyncio.create_task(asking)
    async with asyncio.timeout(10):
        while not (commands := await portal.outbox("commands")):  # noqa: ASYNC110 - it is a table
            await asyncio.sleep(0.01)
    command = commands[-1]
    whose = command.data.recipient or command.data.source
    row = {"command_id": command.id, "recipient": whose, "outcome": outcome, "message": message, "at": NOW}
    await portal.write(routing.command_results, row)
    return command, await asked


async def test_the_source_recalls_a_share(portal: World) -> None:
    share = await portal.share(await portal.study())
    async with portal.client("RQM") as api:
        body = {"why": "patient-safety", "reason": "x"}
        command, answer = await answered(portal, api.post(f"/api/v1/shares/{share}/recall", json=body))
    assert answer.status_code == 202, "routing has written nothing in this world"
    assert (command.data.command, command.data.code, command.data.instances) == ("open", "113037", ())


async def test_what_routing_rejects_is_told_in_its_words(portal: World) -> None:
    body = {"source": "RQM", "study_uid": await portal.study(), "why": "quality", "instances": ["1.2"]}
    async with portal.client("RQM") as api:
        asking = api.post("/api/v1/corrections", json=body)
        _, answer = await answered(portal, asking, "rejected", "1 of the instances are none of this study's")
    assert answer.status_code == 409
    assert "none of this study's" in answer.json()["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "recall"},
        {"kind": "merge", "why": "quality"},
        {"kind": "demographics"},
        {"kind": "recall", "why": "quality", "person": {}},
    ],
)
async def test_what_does_not_fit_together_is_refused(portal: World, wrong: dict[str, Any]) -> None:
    async with portal.client("RQM") as api:
        answer = await api.post("/api/v1/corrections", json={"source": "RQM", "study_uid": "1.2", **wrong})
    assert answer.status_code == 422


async def test_nobody_else_recalls_or_acknowledges(portal: World) -> None:
    study = await portal.study()
    share = await portal.share(study)
    correction = await portal.correction(study, share)
    body = {"source": "RQM", "study_uid": study, "why": "quality"}
    for who, code in (("RT3", 403), ("RXX", 404)):
        async with portal.client(who) as api:
            assert (await api.post("/api/v1/corrections", json=body)).status_code == 403
            recalled = await api.post(f"/api/v1/shares/{share}/recall", json={"why": "quality"})
            assert recalled.status_code == code
    for who, code in (("RQM", 403), ("RXX", 404)):
        async with portal.client(who) as api:
            done = await api.post(f"/api/v1/corrections/{correction}/acknowledge", json={})
            assert done.status_code == code
    assert await portal.outbox("commands") == []


async def test_another_institutions_share_finds_nothing(portal: World) -> None:
    study = await portal.study()
    own, other = await portal.share(study), await portal.share(study, recipient="RXX")
    correction = await portal.correction(study, own)
    concerned = {"correction": correction, "share": other, "recipient": "RXX", "state": "told", "at": NOW}
    await portal.write(routing.corrected_shares, concerned)
    for who, share, count in (("RT3", own, 1), ("RT3", other, 0), ("RQM", other, 1)):
        async with portal.client(who) as api:
            found = (await api.get(f"/api/v1/corrections?share={share}")).json()["items"]
        assert len(found) == count


async def test_it_is_outstanding_until_the_recipient_acknowledges(portal: World) -> None:
    study = await portal.study()
    correction = await portal.correction(study, await portal.share(study))
    async with portal.client("RT3") as api:
        (one,) = (await api.get("/api/v1/corrections?outstanding=true")).json()["items"]
        assert (one["title"], one["concerned"][0]["state"]) == (
            "Incorrect Modality Worklist Entry",
            "notified",
        )
        assert one["concerned"][0]["outstanding_since"]
        assert one["opened_by"] is None
        asking = api.post(f"/api/v1/corrections/{correction}/acknowledge", json={"remark": "deleted"})
        command, answer = await answered(portal, asking)
        assert (command.data.command, command.data.recipient, answer.status_code) == (
            "acknowledge",
            "RT3",
            200,
        )
        k = routing.corrected_shares
        async with portal.database.engine.begin() as connection:
            await connection.execute(update(k).values(acknowledged_at=NOW, acknowledged_by="ben"))
        assert (await api.get("/api/v1/corrections?outstanding=true")).json()["items"] == []
    async with portal.client("RQM") as api:
        (one,) = (await api.get("/api/v1/corrections")).json()["items"]
        assert one["concerned"][0]["acknowledged_by"] == "ben"
    assert [record.action for record in await portal.audited()].count("correction_acknowledged") == 1


async def test_whose_data_is_corrected_is_sealed_and_told_to_those_who_know_the_person(portal: World) -> None:
    study = await portal.study()
    share = await portal.share(study)
    person = {"wrong": {"patient_name": "DOE^JAN"}, "right": {"patient_name": "DOE^JANE"}}
    body = {"source": "RQM", "study_uid": study, "kind": "demographics", "person": person}
    async with portal.client("RQM") as api:
        command, _ = await answered(portal, api.post("/api/v1/corrections", json=body))
    assert "JANE" not in command.encode().decode()
    name = command.data.correction
    await portal.correction(study, share)
    async with portal.database.engine.begin() as connection:
        sealed = command.data.person.model_dump(mode="json")
        k, c = routing.corrected_shares, routing.corrections
        await connection.execute(update(k).values(correction=name))
        await connection.execute(update(c).values(id=name, kind="demographics", code=None, personal=sealed))
    async with portal.client("RT3") as api:
        told = (await api.get(f"/api/v1/corrections/{name}")).json()
        assert told["person"]["right"]["patient_name"] == "DOE^JANE"
    async with portal.database.engine.begin() as connection:
        await connection.execute(update(routing.shares).values(deidentified=True))
    async with portal.client("RT3") as api:
        told = (await api.get(f"/api/v1/corrections/{name}")).json()
    assert (told["person"], told["study_uid"], told["note_sop_instance_uid"]) == (None, "", None)


async def test_the_receipt_stays_that_of_the_images(portal: World) -> None:
    study = await portal.study()
    share = await portal.share(study)
    note = uuid4()
    for at, carrier, name in ((NOW, uuid4(), "images"), (NOW.replace(year=2030), note, "note")):
        document = {"destination": name, "instances": [], "complete": True}
        row = {"delivery": carrier, "revision": 1, "share": share, "document": document,
               "signature": "s", "digest": "d", "at": at}  # fmt: skip
        await portal.write(delivery.receipts, row)
    await portal.correction(study, share, delivery=note)
    async with portal.client("RQM") as api:
        assert (await api.get(f"/api/v1/shares/{share}/receipt")).json()["destination"] == "images"


async def test_an_erasure_takes_two_steps_and_names_nobody(portal: World) -> None:
    portal.portal.command_wait_s = 0
    study = await portal.study(patient_id="943 476 5919", issuer="NHS")
    share = await portal.share(study, state="delivering")
    asked = {"issuer": "NHS", "patient_id": "9434765919"}
    async with portal.client() as api:
        answer = await api.post("/api/v1/subjects/report", json=asked)
        assert (answer.status_code, answer.json()["studies"], answer.json()["under_way"]) == (202, 1, 1)
        report = answer.json()["id"]
        refused = await api.post(f"/api/v1/subjects/{report}/erase", json={"reason": "x"})
        assert (refused.status_code, "force" in refused.json()["detail"]) == (409, True)
        forced = await api.post(f"/api/v1/subjects/{report}/erase", json={"reason": "x", "force": True})
        assert forced.status_code == 202
        again = await api.post(f"/api/v1/subjects/{report}/erase", json={"reason": "x", "force": True})
        assert again.status_code == 404
    commands = await portal.outbox("commands")
    assert [one.data.command for one in commands] == ["report", "erase"]
    assert [(one.study_uid, one.kept) for one in commands[1].data.studies] == [(study, "")]
    assert "9434765919" not in "".join(one.encode().decode() for one in commands)
    assert share
