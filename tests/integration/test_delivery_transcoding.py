"""Compressed images for a node that takes none: transcoded where its directory entry allows it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import FileDataset, dcmread
from pydicom.filereader import read_dataset
from tests.integration.delivery_world import Passage, World, delivery_world, storescp

from imex.delivery.transcoding.pixels import transcode
from imex.delivery.transcoding.syntaxes import EXPLICIT, JPEG_2000_LOSSLESS
from imex.receipts.signature import verify
from imex.testing.dicom import SyntheticInstance, synthetic_study


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def compressed() -> list[SyntheticInstance]:
    return [
        replace(
            one,
            dataset=transcode(one.dataset, EXPLICIT, JPEG_2000_LOSSLESS, 64 << 20),
            transfer_syntax=JPEG_2000_LOSSLESS,
        )
        for one in synthetic_study(3, size=64).instances
    ]


def files_in(folder: Path) -> dict[str, FileDataset]:
    return {str(one.SOPInstanceUID): one for one in map(dcmread, sorted(folder.iterdir()))}


async def test_it_arrives_with_the_same_pixels_and_the_receipt_says_how(world: World, tmp_path: Path) -> None:
    sent, passage = compressed(), Passage("RT3")
    async with storescp(tmp_path) as port, world.working():
        world.endpoint("RT3", port, accepts={"transcode": "lossless"})
        await world.issue(passage, sent)
        await world.until_outcome(passage, "delivered")
    arrived = files_in(tmp_path)
    for one in sent:
        got = arrived[one.sop_instance_uid]
        assert got.file_meta.TransferSyntaxUID == EXPLICIT
        stored = read_dataset(BytesIO(one.dataset), is_implicit_VR=False, is_little_endian=True)
        again = transcode(one.dataset, JPEG_2000_LOSSLESS, EXPLICIT, 64 << 20)
        plain = read_dataset(BytesIO(again), is_implicit_VR=False, is_little_endian=True)
        assert got.PixelData == plain.PixelData
        assert got.PatientName == stored.PatientName
    [receipt] = await world.receipts(passage)
    verify(receipt.document, receipt.signature, world.signer.public_jwk)
    for line in receipt.document["instances"]:
        [words] = line["changes"]
        assert words.startswith("transcoded from JPEG 2000")
        assert "Explicit VR Little Endian" in words
        assert line["delivered_digest"] != line["digest"]


async def test_where_it_is_not_allowed_the_refusal_names_both_sides(world: World, tmp_path: Path) -> None:
    passage = Passage("RT3")
    async with storescp(tmp_path) as port, world.working():
        world.endpoint("RT3", port)
        await world.issue(passage, compressed())
        row = await world.until_outcome(passage, "failed")
    assert "JPEG 2000" in row.reason
    assert "transcoding is not allowed for it" in row.reason
