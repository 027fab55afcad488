"""Reading what lies in an inbox: who may, what they get, what is kept and told of it."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydicom.fileset import FileSet
from sqlalchemy import update
from tests.integration.portal_world import NOW, World, world

from imex.db.tables import delivery, routing
from imex.dicom import dataset_digest
from imex.local.programs import dcmtk
from imex.portal.archive import Downloads
from imex.testing.dicom import SyntheticStudy, synthetic_study

DIRECTORY = """
institutions:
  - {code: RQM, name: Hospital A, kind: nhs}
  - code: RT3
    name: Hospital B
    kind: nhs
    endpoints:
      - {name: inbox, type: inbox, acceptance: true}
      - {name: pacs, type: dicom, ae_title: RT3_PACS, host: 127.0.0.1, port: 4243}
agreements:
  - {id: a1, from: RQM, to: RT3, purposes: [direct-care], legal_basis: "UK GDPR 6(1)(e), 9(2)(h)"}
"""


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        made.portal.command_wait_s = 0
        yield made


async def delivered(portal: World, study: SyntheticStudy, *, state: str = "delivered", **facts: Any) -> UUID:
    """A share whose images lie in RT3's inbox."""
    await portal.study(study_uid=study.study_uid)
    share = await portal.share(study.study_uid, state=state, endpoint="inbox", **facts)
    await portal.lying(share, study.instances)
    return share


async def become(portal: World, share: UUID, **values: Any) -> None:
    async with portal.database.engine.begin() as connection:
        await connection.execute(update(routing.shares).where(routing.shares.c.id == share).values(**values))


def unpacked(content: bytes, folder: Path) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    archive.extractall(folder)
    return archive


async def test_a_study_is_downloaded_whole(portal: World, tmp_path: Path) -> None:
    study = synthetic_study(5, size=32, patient_name="OKONKWO^CHIDI")
    share = await delivered(portal, study)
    async with portal.client("RT3") as api:
        answer = await api.get(f"/api/v1/shares/{share}/archive")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="imex-{share}.zip"'
    archive = unpacked(answer.content, tmp_path)
    files = [name for name in archive.namelist() if name != "DICOMDIR"]
    assert sorted(dataset_digest(archive.read(name)) for name in files) == sorted(study.digests.values())
    for name in files:
        assert all(len(part) <= 8 and part == part.upper() for part in name.split("/"))
    listed = FileSet(tmp_path / "DICOMDIR")
    assert {one.SOPInstanceUID for one in listed} == set(study.digests)
    dump = await asyncio.create_subprocess_exec(
        str(dcmtk("dcmdump")), tmp_path / "DICOMDIR", stdout=asyncio.subprocess.PIPE
    )
    assert (await dump.communicate())[0].count(b"[IMAGE]") == 5


async def test_each_reading_is_kept_and_told_once_a_day(portal: World) -> None:
    share = await delivered(portal, synthetic_study(2, size=32))
    async with portal.client("RT3") as api:
        for _ in range(2):
            assert (await api.get(f"/api/v1/shares/{share}/archive")).status_code == 200
        assert (await api.get(f"/api/v1/shares/{share}/instances")).status_code == 200
    exported = [data for data in await portal.audited() if data.action == "instances_exported"]
    assert len(exported) == 2
    for data in exported:
        assert data.actor.institution == "RT3"
        assert (data.share, data.recipient, data.purpose, data.agreement) == (
            share,
            "RT3",
            "direct-care",
            "a1",
        )
        assert data.counts == {"images": 2}
    views = await portal.outbox("commands")
    assert [view.data.how for view in views] == ["downloaded", "downloaded", "opened"]
    assert len({view.id for view in views}) == 2
    assert {(view.data.recipient, view.data.actor_institution) for view in views} == {("RT3", "RT3")}


async def test_one_image_is_a_file(portal: World) -> None:
    study = synthetic_study(2, size=32)
    share = await delivered(portal, study)
    async with portal.client("RT3") as api:
        [first, second] = (await api.get(f"/api/v1/shares/{share}/instances")).json()["items"]
        page = (await api.get(f"/api/v1/shares/{share}/instances", params={"limit": 1})).json()
        rest = await api.get(f"/api/v1/shares/{share}/instances", params={"limit": 1, "after": page["next"]})
        assert [*page["items"], *rest.json()["items"]] == [first, second]
        answer = await api.get(f"/api/v1/shares/{share}/instances/{first['sop_instance_uid']}")
        assert dataset_digest(answer.content) == first["digest"] == study.digests[first["sop_instance_uid"]]
        assert (await api.get(f"/api/v1/shares/{share}/instances/1.2.3")).status_code == 404


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        ("revoked", 410, "taken back"),
        ("expired", 410, "expired"),
        ("cancelled", 410, "called off"),
        ("refused", 410, "refused"),
        ("requested", 409, "Accept it first"),
    ],
)
async def test_what_may_not_be_read_is_not(portal: World, state: str, status: int, words: str) -> None:
    study = synthetic_study(1, size=32)
    share = await delivered(portal, study)
    await become(portal, share, state=state, reason="why it is so")
    uid = next(iter(study.digests))
    async with portal.client("RT3") as api:
        for path in ("archive", "instances", f"instances/{uid}"):
            answer = await api.get(f"/api/v1/shares/{share}/{path}")
            assert (answer.status_code, words in answer.json()["detail"]) == (status, True), path
        assert (await api.get("/api/v1/inbox")).json()["items"] == []
    refused = [data for data in await portal.audited() if data.outcome == "refused"]
    assert len(refused) == 3
    assert await portal.outbox("commands") == []


async def test_only_the_recipient_reads(portal: World) -> None:
    share = await delivered(portal, synthetic_study(1, size=32))
    for who, status in (("RQM", 403), ("RXX", 404), (None, 401), ("admin", 200), ("RT3", 200)):
        async with portal.client(who) as api:
            assert (await api.get(f"/api/v1/shares/{share}/archive")).status_code == status, who
            if who:
                items = (await api.get("/api/v1/inbox")).json()["items"]
                assert len(items) == (1 if status == 200 else 0), who
    [view] = await portal.outbox("commands")
    assert view.data.actor_institution == "RT3", "the administration is no reader"


async def test_what_went_elsewhere_is_not_read_here(portal: World) -> None:
    share = await portal.share(await portal.study(), endpoint="pacs")
    on_its_way = await portal.share(await portal.study(), state="collecting", endpoint="inbox")
    async with portal.client("RT3") as api:
        assert (await api.get(f"/api/v1/shares/{share}/archive")).status_code == 404
        assert (await api.get(f"/api/v1/shares/{on_its_way}/archive")).status_code == 409


async def test_images_that_are_gone_are_said_to_be(portal: World) -> None:
    share = await delivered(portal, synthetic_study(1, size=32))
    portal.store.objects.clear()
    async with portal.client("RT3") as api:
        answer = await api.get(f"/api/v1/shares/{share}/archive")
        assert (answer.status_code, "not in the store" in answer.json()["detail"]) == (410, True)
    await become(portal, share, disposed_at=NOW)
    async with portal.client("RT3") as api:
        answer = await api.get(f"/api/v1/shares/{share}/archive")
        assert (answer.status_code, "limited time" in answer.json()["detail"]) == (410, True)
        assert (await api.get("/api/v1/inbox")).json()["items"] == []
    assert [data.outcome for data in await portal.audited() if data.action == "instances_exported"] == [
        "success", "failure", "refused"
    ]  # fmt: skip


async def test_a_damaged_image_never_looks_whole(portal: World) -> None:
    study = synthetic_study(3, size=32)
    share = await delivered(portal, study)
    last = sorted(study.digests)[-1]
    async with portal.database.engine.begin() as connection:
        key = await connection.scalar(
            delivery.inbox_instances.select()
            .with_only_columns(delivery.inbox_instances.c.object_key)
            .where(delivery.inbox_instances.c.sop_instance_uid == last)
        )
    assert key is not None
    content, metadata, at = portal.store.objects[key]
    portal.store.objects[key] = (content[:-1] + bytes([content[-1] ^ 1]), metadata, at)
    async with portal.client("RT3") as api:
        with pytest.raises(Exception, match="does not match its digest"):
            await api.get(f"/api/v1/shares/{share}/archive")
        answer = await api.get(f"/api/v1/shares/{share}/instances/{last}")
        assert answer.status_code == 500
    broken = [data for data in await portal.audited() if data.outcome == "failure"]
    assert [data.counts for data in broken] == [{"images": 2}, {"images": 0}]


async def test_taking_back_reaches_a_download_that_runs(
    portal: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imex.portal.handing_out.PAGE", 1)
    share = await delivered(portal, synthetic_study(3, size=32))
    load = portal.store.load

    async def taken_back(key: str) -> memoryview:
        await become(portal, share, state="revoked")
        return await load(key)

    monkeypatch.setattr(portal.store, "load", taken_back)
    async with portal.client("RT3") as api:
        with pytest.raises(Exception, match="may not be read any more"):
            await api.get(f"/api/v1/shares/{share}/archive")


async def test_a_caller_downloads_a_few_at_a_time(portal: World) -> None:
    share = await delivered(portal, synthetic_study(1, size=32))
    portal.portal.downloads = Downloads(total=1, each=1)
    async with portal.client("RT3") as api:
        with portal.portal.downloads.one("somebody else"):
            answer = await api.get(f"/api/v1/shares/{share}/archive")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        for _ in range(2):
            assert (await api.get(f"/api/v1/shares/{share}/archive")).status_code == 200


async def test_a_deidentified_share_shows_nothing_of_the_original(portal: World, tmp_path: Path) -> None:
    original, given = synthetic_study(2, size=32), synthetic_study(2, size=32, patient_name="P0001")
    await portal.study(study_uid=original.study_uid, patient_name="OKONKWO^CHIDI", accession="A0815")
    share = await portal.share(original.study_uid, deidentified=True, endpoint="inbox")
    await portal.lying(share, given.instances, own=True)
    async with portal.database.engine.begin() as connection:
        i = delivery.inbox_instances.c
        for there, source in zip(given.digests, original.digests, strict=True):
            await connection.execute(
                update(delivery.inbox_instances)
                .where(i.sop_instance_uid == there)
                .values(sop_instance_uid=source, digest=original.digests[source])
            )
    secrets = [*original.digests, *original.digests.values(), original.study_uid, "A0815", "OKONKWO"]
    async with portal.client("RT3") as api:
        for path in ("/inbox", f"/shares/{share}/instances"):
            told = (await api.get("/api/v1" + path)).text
            assert not [secret for secret in secrets if secret in told], path
        for uid in original.digests:
            assert (await api.get(f"/api/v1/shares/{share}/instances/{uid}")).status_code == 404
        content = (await api.get(f"/api/v1/shares/{share}/archive")).content
    archive = unpacked(content, tmp_path)
    assert not [
        secret for secret in secrets if secret.encode() in b"".join(map(archive.read, archive.namelist()))
    ]


async def test_the_inbox_lists_by_standing(portal: World) -> None:
    async with portal.client() as api:
        await api.put(
            "/api/v1/directory", content=DIRECTORY, headers={"content-type": "text/yaml", "if-match": "*"}
        )
    uid = await portal.study(study_description="CT HEAD OKONKWO", accession="A0815")
    waiting = await portal.share(uid, state="requested", endpoint=None, priority="emergency")
    coming = await portal.share(await portal.study(), state="collecting", endpoint=None)
    await portal.share(await portal.study(), state="collecting", endpoint="pacs")
    there = []
    for age in range(3):
        share = await portal.share(await portal.study(), endpoint="inbox")
        await portal.lying(share, [], at=NOW - timedelta(hours=age))
        there.append(str(share))
    async with portal.client("RT3") as api:
        [one] = (await api.get("/api/v1/inbox", params={"standing": "waiting"})).json()["items"]
        assert (one["id"], one["priority"], one["modalities"]) == (str(waiting), "emergency", ["CT"])
        assert (one["description"], one["accession"], one["study_uid"]) == ("", "", "")
        [one] = (await api.get("/api/v1/inbox", params={"standing": "coming"})).json()["items"]
        assert one["id"] == str(coming)
        page = (await api.get("/api/v1/inbox", params={"limit": 2})).json()
        rest = (await api.get("/api/v1/inbox", params={"limit": 2, "after": page["next"]})).json()
        assert [one["id"] for one in page["items"] + rest["items"]] == there
        assert rest["next"] is None
    async with portal.client("RQM") as api:
        for standing in ("waiting", "coming", "there"):
            assert (await api.get("/api/v1/inbox", params={"standing": standing})).json()["items"] == []


async def test_the_recipient_accepts_or_refuses(portal: World) -> None:
    share = await portal.share(await portal.study(), state="requested", endpoint="inbox")
    async with portal.client("RQM") as api:
        assert (await api.post(f"/api/v1/shares/{share}/accept")).status_code == 403
    async with portal.client("RT3") as api:
        assert (await api.post(f"/api/v1/shares/{share}/accept")).status_code == 202
        body = {"reason": "not for us"}
        assert (await api.post(f"/api/v1/shares/{share}/refuse", json=body)).status_code == 202
    accepted, refused = await portal.outbox("commands")
    assert (accepted.data.command, accepted.data.actor_institution) == ("accept", "RT3")
    assert (refused.data.command, refused.data.reason) == ("refuse", "not for us")


async def test_no_share_of_that_id(portal: World) -> None:
    async with portal.client("RT3") as api:
        assert (await api.get(f"/api/v1/shares/{uuid4()}/archive")).status_code == 404


async def test_a_share_of_results_is_counted_without_the_rest_of_the_study(portal: World) -> None:
    study = synthetic_study(1, size=32)
    share = await delivered(portal, study)
    async with portal.client("RT3") as api:
        [whole] = (await api.get("/api/v1/inbox")).json()["items"]
        before = (await api.get(f"/api/v1/shares/{share}")).json()["instances"]
        left_out = {"validated": 1, "waiting": 0, "discarded": 0, "bytes": 3_000_000_000}
        await become(portal, share, origin="return", left_out=left_out)
        [item] = (await api.get("/api/v1/inbox")).json()["items"]
        after = (await api.get(f"/api/v1/shares/{share}")).json()["instances"]
    assert item["images"] == whole["images"] - 1
    assert item["bytes"] == whole["bytes"] - 3_000_000_000
    assert (after["received"], after["validated"]) == (before["received"] - 1, before["validated"] - 1)
