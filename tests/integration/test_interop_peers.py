"""Imex beside the DICOM implementations that its test machines have, in both directions."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.delivery_world import delivery_world
from tests.integration.interop_world import Exchange, exchange
from tests.interop.matrix import Transport, check_receiver, check_sender

from imex.local import programs
from imex.settings import KafkaSettings
from imex.testing.interop.dcmtk import Dcmsend, Storescp, Storescu
from imex.testing.interop.orthanc import OrthancReceiver, OrthancSender
from imex.testing.interop.peer import Receiver, Sender
from imex.testing.interop.pynetdicom import PynetdicomReceiver, PynetdicomSender
from imex.testing.parts import MinioPart

with_orthanc = pytest.mark.skipif(programs.orthanc() is None, reason="Orthanc is not installed")
SENDERS = [
    Dcmsend(),
    Storescu(),
    pytest.param(OrthancSender(), marks=with_orthanc),
    PynetdicomSender(),
]
RECEIVERS = [Storescp(), pytest.param(OrthancReceiver(), marks=with_orthanc), PynetdicomReceiver()]


@pytest.fixture
async def imex(minio: MinioPart, kafka_settings: KafkaSettings, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(minio, kafka_settings, tmp_path / "imex") as made:
        yield made


@pytest.mark.parametrize("transport", ["plain", "TLS"])
@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.name)
async def test_a_peer_sends_to_imex(
    sender: Sender, transport: Transport, imex: Exchange, tmp_path: Path
) -> None:
    await check_sender(sender, imex, transport, tmp_path)


@pytest.mark.parametrize("transport", ["plain", "TLS"])
@pytest.mark.parametrize("receiver", RECEIVERS, ids=lambda receiver: receiver.name)
async def test_imex_sends_to_a_peer(
    receiver: Receiver, transport: Transport, empty_database_url: str, tmp_path: Path
) -> None:
    async with delivery_world(empty_database_url) as world:
        await check_receiver(receiver, world, transport, tmp_path)
