"""The whole matrix, with the peers that are built for it: `make interop` runs it and writes the table."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.delivery_world import delivery_world
from tests.integration.interop_world import Exchange, exchange
from tests.interop.matrix import Transport, check_receiver, check_sender
from tests.interop.table import Row

from imex.settings import KafkaSettings
from imex.testing.interop.dcmjs import DcmjsReceiver, DcmjsSender
from imex.testing.interop.dcmtk import Dcmsend, Storescp, Storescu
from imex.testing.interop.dicom_rs import DicomRsReceiver, DicomRsSender
from imex.testing.interop.orthanc import OrthancReceiver, OrthancSender
from imex.testing.interop.peer import Receiver, Sender
from imex.testing.interop.pynetdicom import PynetdicomReceiver, PynetdicomSender
from imex.testing.parts import MinioPart

SENDERS = [Dcmsend(), Storescu(), OrthancSender(), PynetdicomSender(), DicomRsSender(), DcmjsSender()]
RECEIVERS = [Storescp(), OrthancReceiver(), PynetdicomReceiver(), DicomRsReceiver(), DcmjsReceiver()]


@pytest.fixture
async def imex(minio: MinioPart, kafka_settings: KafkaSettings, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(minio, kafka_settings, tmp_path / "imex") as made:
        yield made


@pytest.mark.parametrize("transport", ["plain", "TLS"])
@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.name)
async def test_to_imex(
    sender: Sender, transport: Transport, imex: Exchange, tmp_path: Path, rows: list[Row]
) -> None:
    rows.append(await check_sender(sender, imex, transport, tmp_path))


@pytest.mark.parametrize("transport", ["plain", "TLS"])
@pytest.mark.parametrize("receiver", RECEIVERS, ids=lambda receiver: receiver.name)
async def test_from_imex(
    receiver: Receiver,
    transport: Transport,
    empty_database_url: str,
    tmp_path: Path,
    rows: list[Row],
) -> None:
    async with delivery_world(empty_database_url) as world:
        rows.append(await check_receiver(receiver, world, transport, tmp_path))
