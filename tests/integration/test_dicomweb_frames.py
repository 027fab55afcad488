"""Frames by WADO-RS, over a real PostgreSQL."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from tests.integration.portal_world import DIRECTORY, NOW, World, world
from tests.integration.test_dicomweb_reading import apply, get, parts

from imex.db.tables import routing
from imex.dicom import file_meta
from imex.testing.dicom import synthetic_study

EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
LOSSLESS = "1.2.840.10008.1.2.4.70"
OCTETS = 'multipart/related; type="application/octet-stream"'
FRAMES = [b"\xff\xd8" + bytes([number]) * 20 + b"\xff\xd9" for number in range(1, 4)]


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        await apply(made, DIRECTORY)
        yield made


async def stored(portal: World, syntax: str, change: Any) -> tuple[str, str]:
    """One image whose pixel data is `change`d, where its frames are, and its key."""
    study = synthetic_study(1, size=8)
    one = study.instances[0]
    dataset = dcmread(BytesIO(one.file()))
    change(dataset)
    encoded = BytesIO()
    dcmwrite(
        encoded,
        Dataset(dataset),
        implicit_vr=False,
        little_endian=syntax != BIG,
        enforce_file_format=False,
        force_encoding=True,
    )
    key = f"RQM/2026-03-05/{uuid4()}"
    meta = file_meta(one.sop_class_uid, one.sop_instance_uid, syntax)
    await portal.store.put(key, meta + encoded.getvalue())
    await portal.study("RQM", study_uid=study.study_uid)
    await portal.write(
        routing.instances,
        {
            "source": "RQM",
            "sop_instance_uid": one.sop_instance_uid,
            "study_uid": study.study_uid,
            "series_uid": f"{study.study_uid}.7",
            "sop_class_uid": one.sop_class_uid,
            "transfer_syntax": syntax,
            "modality": "CT",
            "object_key": key,
            "size": len(encoded.getvalue()),
            "digest": "sha256:" + "0" * 64,
            "event_id": uuid4(),
            "directory_version": "5f0c" * 16,
            "received_at": NOW,
        },
    )
    path = f"/studies/{study.study_uid}/series/{study.study_uid}.7/instances/{one.sop_instance_uid}/frames"
    return path, key


def three_native(dataset: Dataset) -> None:
    dataset.NumberOfFrames = 3
    dataset.PixelData = b"".join(bytes([number]) * (8 * 8 * 2) for number in range(1, 4))


def three_compressed(dataset: Dataset) -> None:
    dataset.NumberOfFrames = 3
    dataset.PixelData = encapsulate(FRAMES, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


async def test_native_frames_come_as_parts_or_one_as_octets(portal: World) -> None:
    path, _ = await stored(portal, EXPLICIT, three_native)
    answer = await get(portal, "RQM", f"{path}/3,1", OCTETS)
    assert answer.status_code == 200, answer.text
    found = parts(answer)
    assert [data for _, data in found] == [b"\1" * 128, b"\3" * 128]
    headers = {name.lower(): value for name, value in found[1][0].items()}
    assert headers["content-location"].endswith("/frames/3")
    assert headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert (await get(portal, "RQM", f"{path}/2", "application/octet-stream")).content == b"\2" * 128
    (audit, *_) = [one for one in await portal.audited() if one.action == "share_viewed"]
    assert audit.details["part"] == "frames by wado-rs"


async def test_compressed_frames_come_as_they_are_stored(portal: World) -> None:
    path, _ = await stored(portal, LOSSLESS, three_compressed)
    for accept, kind in (
        ('multipart/related; type="image/jpeg"', "image/jpeg"),
        (f"{OCTETS}; transfer-syntax=*", "application/octet-stream"),
        ("*/*", "image/jpeg"),
    ):
        answer = await get(portal, "RQM", f"{path}/1,2,3", accept)
        assert answer.status_code == 200, answer.text
        assert [data for _, data in parts(answer)] == FRAMES
        assert f'type="{kind}"' in answer.headers["content-type"]
    refused = await get(portal, "RQM", f"{path}/1", OCTETS)
    assert (refused.status_code, LOSSLESS in refused.json()["detail"]) == (406, True)


@pytest.mark.parametrize(
    ("numbers", "status"), [("4", 404), ("0", 400), (",".join(["1"] * 2000), 400), ("1,x", 422)]
)
async def test_frames_that_there_are_not(portal: World, numbers: str, status: int) -> None:
    path, _ = await stored(portal, EXPLICIT, three_native)
    assert (await get(portal, "RQM", f"{path}/{numbers}", OCTETS)).status_code == status


async def test_no_frames_of_what_cannot_be_cut_or_is_anothers(portal: World) -> None:
    path, key = await stored(portal, EXPLICIT, three_native)
    assert (await get(portal, "RT3", f"{path}/1", OCTETS)).status_code == 404
    portal.store.objects.pop(key)
    assert (await get(portal, "RQM", f"{path}/1", OCTETS)).status_code == 410
    path, _ = await stored(portal, BIG, three_native)
    assert (await get(portal, "RQM", f"{path}/1", OCTETS)).status_code == 406

    def short(dataset: Dataset) -> None:
        three_native(dataset)
        dataset.NumberOfFrames = 4

    path, _ = await stored(portal, EXPLICIT, short)
    assert (await get(portal, "RQM", f"{path}/1", OCTETS)).status_code == 409

    def fewer(dataset: Dataset) -> None:
        three_compressed(dataset)
        dataset.NumberOfFrames = 5

    path, _ = await stored(portal, LOSSLESS, fewer)
    with pytest.raises(Exception, match="fewer frames"):
        await get(portal, "RQM", f"{path}/1,5", "*/*")


async def test_an_image_without_pixels_has_no_frames(portal: World) -> None:
    def without(dataset: Dataset) -> None:
        del dataset.PixelData

    path, _ = await stored(portal, EXPLICIT, without)
    assert (await get(portal, "RQM", f"{path}/1", OCTETS)).status_code == 404
