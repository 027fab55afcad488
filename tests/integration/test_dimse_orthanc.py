"""Orthanc as a peer in both directions: what it got from us it sends back, element by element."""

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.filereader import read_dataset
from pydicom.uid import ImplicitVRLittleEndian

from imex.dimse import StoreResponse, connect
from imex.testing.dimse import DimseRecorder, acceptor, read_instance

NAMES = ("CT_small.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "reportsi.dcm")
ORTHANC = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
pytestmark = pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed")


def _elements(transfer_syntax: str, data: bytes) -> Dataset:
    """The data set, but for the trailing padding that Orthanc leaves out when it writes lengths anew."""
    dataset = Dataset(read_dataset(BytesIO(data), transfer_syntax == ImplicitVRLittleEndian, True))
    dataset.pop(0xFFFCFFFC, None)
    return dataset


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.asynccontextmanager
async def orthanc(directory: Path, imex_port: int) -> AsyncIterator[tuple[int, str]]:
    """Orthanc with an empty database; its DICOM port and the base URL of its REST API."""
    dicom_port, http_port = _free_ports(2)
    configuration = directory / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "StorageDirectory": str(directory / "storage"),
                "IndexDirectory": str(directory / "index"),
                "DicomPort": dicom_port,
                "HttpPort": http_port,
                "DicomAet": "ORTHANC",
                "DicomAlwaysAllowStore": True,
                "AuthenticationEnabled": False,
                "DicomModalities": {"imex": ["IMEX", "127.0.0.1", imex_port]},
                "StableAge": 1,
            }
        )
    )
    assert ORTHANC is not None
    process = await asyncio.create_subprocess_exec(
        ORTHANC, str(configuration), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{http_port}"
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/system") as response:
                        if response.status == 200:
                            break
                await asyncio.sleep(0.05)
        yield dicom_port, url
    finally:
        process.terminate()
        await process.wait()


async def test_what_orthanc_got_from_us_it_sends_back_in_full(tmp_path: Path) -> None:
    instances = []
    for name in NAMES:
        path = get_testdata_file(name, download=False)
        assert isinstance(path, str)
        instances.append(read_instance(Path(path)))
    contexts = sorted({(i.sop_class, (i.transfer_syntax,)) for i in instances})
    recorder = DimseRecorder()
    async with acceptor(recorder) as listening, orthanc(tmp_path, listening.port) as (dicom_port, url):
        async with connect("127.0.0.1", dicom_port, "IMEX", "ORTHANC", contexts) as association:
            for i in instances:
                answer = await association.store(
                    i.sop_class, i.sop_instance, i.transfer_syntax, i.chunks(10_001), len(i.data)
                )
                assert answer == StoreResponse(0, ""), i.transfer_syntax
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/modalities/imex/echo", data="{}") as response:
                assert response.status == 200
            async with session.get(f"{url}/instances") as response:
                found = await response.json()
            assert len(found) == len(instances)
            async with session.post(f"{url}/modalities/imex/store", json=found) as response:
                outcome = await response.json()
        assert outcome["FailedInstancesCount"] == 0
        await recorder.wait(lambda: len(recorder.stored) == len(instances))
    for i in instances:
        stored = recorder.stored[i.sop_instance]
        assert stored.command.transfer_syntax == i.transfer_syntax
        assert _elements(i.transfer_syntax, bytes(stored.data)) == _elements(i.transfer_syntax, i.data)
    assert sum(ended.stored for ended in recorder.ended) == len(found)
    assert sum(ended.echoes for ended in recorder.ended) == 1
