"""Recipients' own identifiers: asked for through the API, obeyed by delivery, one for one, and used."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pydicom
import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select
from tests.integration.delivery_world import Passage, delivery_world, storescp
from tests.integration.delivery_world import World as DeliveryWorld
from tests.integration.portal_world import World, world

from imex.db import Database
from imex.db.tables.delivery import identifiers
from imex.delivery.identifiers import obey
from imex.dicom.mapping import Told
from imex.events.audit import AuditRecorded
from imex.events.commands import IdentifierCommanded, IdentifierCommandedData
from imex.events.sealed import seal_context
from imex.sealing import Sealer
from imex.testing.dicom import SyntheticStudy, synthetic_study

SEALER = Sealer({"k1": bytes(32)}, "k1")
MAPPING = {"recipient": "RT3", "source": "RQM", "value": "MRN0815", "own": "B-77"}


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        made.portal.sealer = SEALER
        made.portal.command_wait_s = 10
        yield made


async def _obeyed(portal: World, url: str) -> IdentifierCommanded:
    """Wait for the next command, and obey it as delivery does."""
    async with asyncio.timeout(10):
        while not (commands := await portal.outbox("commands")):  # noqa: ASYNC110 - it is a table
            await asyncio.sleep(0.01)
    command = commands[-1]
    assert isinstance(command, IdentifierCommanded)
    database = Database(url, "delivery")
    async with database.unit() as unit:
        await obey(unit, command, SEALER)
    await database.close()
    return command


async def test_a_recipient_maps_and_unmaps_its_own(portal: World, migrated_database_url: str) -> None:
    async with portal.client("RT3") as api:
        asking = asyncio.create_task(api.post("/api/v1/identifiers", json=MAPPING))
        command = await _obeyed(portal, migrated_database_url)
        answer = await asking
        assert answer.status_code == 201
        assert "MRN0815" not in command.encode().decode()
        again = await api.post("/api/v1/identifiers", json=MAPPING)
        assert again.json()["id"] == answer.json()["id"]
        listed = (await api.get("/api/v1/identifiers")).json()["items"]
        assert [(one["value"], one["own"]) for one in listed] == [("MRN0815", "B-77")]
        other = await api.post("/api/v1/identifiers", json=MAPPING | {"own": "B-78"})
        assert other.status_code == 409 and "remove that first" in other.json()["detail"]
        shared = await api.post("/api/v1/identifiers", json=MAPPING | {"value": "MRN0816"})
        assert shared.status_code == 409

    async with portal.client("RXX") as api:
        assert (await api.get("/api/v1/identifiers")).json()["items"] == []
        assert (await api.post("/api/v1/identifiers", json=MAPPING)).status_code == 403
        path = f"/api/v1/identifiers/{listed[0]['id']}"
        assert (await api.delete(path)).status_code == 404
    actions = [event.data.action for event in await portal.outbox("audit")]
    assert actions.count("identifier_mapped") == 1 and "identifier_searched" in actions


async def test_what_collides_is_refused_by_delivery_too(empty_database_url: str) -> None:
    async with delivery_world(empty_database_url) as delivery:
        await add(delivery, "RQM", "MRN1", "B-1", "OKONKWO^CHIDI", "19710403")
        await add(delivery, "RQM", "MRN2", "B-1")
        await add(delivery, "RQM", "MRN1", "B-2")
        await add(delivery, "RXX", "C9", "B-1")
        await add(delivery, "RXX", "C9", "B-1", "OKONKWO^CHIDI", "19720403")
        await add(delivery, "RXX", "C9", "B-1", "Okonkwo^Chidi", "19710403")
        async with delivery.database.unit() as unit:
            rows = list(await unit.connection.execute(select(identifiers)))
        assert sorted((row.source, row.value, row.own) for row in rows) == [
            ("RQM", "MRN1", "B-1"),
            ("RXX", "C9", "B-1"),
        ]
        refused = [one for one in await delivery.events(AuditRecorded) if one.data.outcome == "refused"]
        assert len(refused) == 4
        assert not any("MRN" in one.encode().decode() for one in refused)


async def add(delivery: DeliveryWorld, sender: str, value: str, own: str, *person: str, **more: Any) -> None:
    """A command, obeyed."""
    identifier = uuid4()
    name, birth_date = person or ("", "")
    told = Told(value=value, own=own, name=name, birth_date=birth_date)
    data = {"recipient": "RT3", "identifier_kind": "patient", "actor": "sam", **more}
    event = IdentifierCommanded.of(
        id=uuid4(),
        subject=f"identifier/{identifier}",
        data=IdentifierCommandedData(
            command="add",
            identifier=identifier,
            sender=sender,
            sealed=SEALER.seal(told, seal_context("identifier", identifier)),
            **data,
        ),
    )
    async with delivery.database.unit() as unit:
        await obey(unit, event, SEALER)


def study(**more: Any) -> SyntheticStudy:
    facts = {"patient_id": "MRN1", "issuer": "", "patient_name": "OKONKWO^CHIDI", "birth_date": "19710403"}
    return synthetic_study(1, size=16, **(facts | more))


def received(directory: Path) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in directory.iterdir()]


async def test_a_study_goes_out_under_the_recipients_identifiers_and_back_under_the_senders(
    empty_database_url: str, tmp_path: Path
) -> None:
    for name in ("RT3", "RQM"):
        (tmp_path / name).mkdir()
    async with (
        delivery_world(empty_database_url) as delivery,
        storescp(tmp_path / "RT3") as there,
        storescp(tmp_path / "RQM") as home,
    ):
        policy = {"patient_id": "map", "accession": "add-issuer"}
        delivery.endpoint("RT3", there, identity=policy)
        delivery.endpoint("RQM", home)
        await add(delivery, "RQM", "MRN1", "B-1")
        sent, other = study(), study(patient_name="ANOTHER^PERSON")
        unknown = study(patient_id="MRN5")
        async with delivery.working():
            for one, outcome in ((sent, "delivered"), (other, "failed"), (unknown, "failed")):
                passage = Passage("RT3", one.study_uid)
                await delivery.issue(passage, one.instances)
                await delivery.until_outcome(passage, outcome)
                [row] = (await delivery.instances(passage)).values()
                if one is not sent:
                    assert row.reason.startswith("held: ")
            [image] = received(tmp_path / "RT3")
            assert (image.PatientID, image.IssuerOfPatientID) == ("B-1", "RT3")
            [former] = image.OtherPatientIDsSequence
            assert (former.PatientID, former.IssuerOfPatientID) == ("MRN1", "RQM")
            assert image.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RQM"
            [original] = image.OriginalAttributesSequence
            assert original.ModifiedAttributesSequence[0].PatientID == "MRN1"
            assert image.StudyInstanceUID == sent.study_uid

            result = study(patient_id="B-1", issuer="RT3", study_uid=sent.study_uid, modality="PR")
            back = Passage("RQM", sent.study_uid, source="RT3")
            await delivery.issue(back, result.instances)
            await delivery.until_outcome(back, "delivered")
            [row] = (await delivery.instances(back)).values()
            assert row.changes == ["Patient ID mapped back to RQM's own"]
        [returned] = received(tmp_path / "RQM")
        assert (returned.PatientID, returned.IssuerOfPatientID) == ("MRN1", "RQM")
