"""Every file of pydicom's own test set that a peer can send arrives with an identical data set."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, _config
from tests.integration.interop_world import (
    CALLED_AE,
    CALLING_AE,
    Exchange,
    arrivals_of,
    elements,
    exchange,
)

from imex.dimse import connect
from imex.settings import KafkaSettings
from imex.testing.dimse import Instance
from imex.testing.interop.dcmtk import PROPOSE, Storescp
from imex.testing.interop.peer import run
from imex.testing.parts import MinioPart
from imex.testing.pydicom_files import (
    NOT_SENT,
    NOT_SENT_BY_STORESCU,
    PydicomFile,
    every_file,
    sendable_files,
)

RETIRED_AND_PRIVATE = (
    "1.2.840.10008.5.1.4.1.1.5",  # Nuclear Medicine Image (Retired)
    "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image (Retired)
    "1.2.840.10008.5.1.1.30",  # Hardcopy Color Image (Retired)
    "1.3.12.2.1107.5.9.1",  # Siemens CSA Non-Image
    "1.2.826.0.1.3680043.9.9999.1",  # nobody's
)


@pytest.fixture
async def imex(minio: MinioPart, kafka_settings: KafkaSettings, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(minio, kafka_settings, tmp_path / "imex") as made:
        yield made


def test_no_file_is_left_out_without_a_reason() -> None:
    names = every_file().keys()
    assert names >= NOT_SENT.keys()
    assert len(names) == len(NOT_SENT) + len(sendable_files())
    assert {file.name for file in sendable_files()} >= NOT_SENT_BY_STORESCU.keys()
    assert {file.instance.transfer_syntax for file in sendable_files()} == PROPOSE.keys()


async def test_sent_by_our_own_scu_every_data_set_is_stored_byte_for_byte(imex: Exchange) -> None:
    instances = [file.instance for file in sendable_files()]
    assert await _send(imex.port, instances) == {0x0000: len(instances)}
    assert await imex.arrived() == arrivals_of(instances)


async def test_sent_by_pynetdicom_every_data_set_is_stored_byte_for_byte(
    imex: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # from the file, not encoded anew
    files = [file for file in sendable_files() if file.has_meta]
    statuses = await asyncio.to_thread(_send_with_pynetdicom, imex.port, files)
    assert statuses == {0x0000: len(files)}
    assert await imex.arrived() == arrivals_of(file.instance for file in files)


async def test_sent_by_storescu_every_data_set_is_stored_as_dcmtk_stores_it_itself(
    imex: Exchange, tmp_path: Path
) -> None:
    """DCMTK encodes data sets anew, so its own receiver says what it sends."""
    files = [file for file in sendable_files() if file.name not in NOT_SENT_BY_STORESCU]
    with Storescp().receiving(CALLED_AE, tmp_path / "own", None) as receiving:
        await _storescu(receiving.port, files)
        own = receiving.instances()
    assert len(own) == len(files)
    await _storescu(imex.port, files)
    assert await imex.arrived() == arrivals_of(own)


async def test_sent_by_dcmsend_color_palettes_arrive_element_by_element(imex: Exchange) -> None:
    """DCMTK's receiver refuses them; what DCMTK writes anew are the lengths of groups and sequences."""
    files = [file for file in sendable_files() if file.name.startswith("palettes/")]
    assert files
    paths = [str(file.path) for file in files]
    await asyncio.to_thread(run, ["dcmsend", *_titles(imex.port), *paths])
    arrived = {one.sop_instance: elements(one) for one in await imex.instances()}
    assert arrived == {file.instance.sop_instance: elements(file.instance) for file in files}


async def test_retired_and_private_sop_classes_are_stored_in_any_transfer_syntax(imex: Exchange) -> None:
    template = next(file.instance for file in sendable_files() if file.name == "test_files/JPEG2000.dcm")
    instances = [
        Instance(sop_class, f"2.25.{number}", syntax, template.data)
        for number, (sop_class, syntax) in enumerate(
            (
                (sop_class, syntax)
                for sop_class in RETIRED_AND_PRIVATE
                for syntax in (*PROPOSE, "1.2.826.0.1.3680043.9.9999.2", "1.2.840.10008.1.2.4.201")
            ),
            start=1,
        )
    ]
    assert await _send(imex.port, instances) == {0x0000: len(instances)}
    assert await imex.arrived() == arrivals_of(instances)


async def test_a_media_storage_directory_gets_no_presentation_context(imex: Exchange) -> None:
    directory = ("1.2.840.10008.1.3.10", ["1.2.840.10008.1.2.1"])
    async with connect("127.0.0.1", imex.port, CALLING_AE, CALLED_AE, [directory]) as association:
        assert not association.accepted


async def _send(port: int, instances: list[Instance]) -> Counter[int]:
    statuses: Counter[int] = Counter()
    contexts = sorted({(one.sop_class, (one.transfer_syntax,)) for one in instances})
    async with connect("127.0.0.1", port, CALLING_AE, CALLED_AE, contexts) as association:
        for one in instances:
            answer = await association.store(
                one.sop_class, one.sop_instance, one.transfer_syntax, one.chunks(5001), len(one.data)
            )
            statuses[answer.status] += 1
    return statuses


def _send_with_pynetdicom(port: int, files: list[PydicomFile]) -> Counter[int]:
    entity = AE(CALLING_AE)
    for sop_class, syntax in sorted({(f.instance.sop_class, f.instance.transfer_syntax) for f in files}):
        entity.add_requested_context(sop_class, syntax)
    association: Any = entity.associate("127.0.0.1", port, ae_title=CALLED_AE)
    assert association.is_established
    try:
        return Counter(association.send_c_store(file.path).Status for file in files)
    finally:
        association.release()


async def _storescu(port: int, files: list[PydicomFile]) -> None:
    """Send every file in the transfer syntax that it has; `storescu` halts at the first failure."""
    for syntax, option in PROPOSE.items():
        chosen = [str(file.path) for file in files if file.instance.transfer_syntax == syntax]
        said = await asyncio.to_thread(run, ["storescu", "-R", option, *_titles(port), *chosen])
        assert "ignoring file" not in said


def _titles(port: int) -> list[str]:
    return ["-aet", CALLING_AE, "-aec", CALLED_AE, "127.0.0.1", str(port)]
