"""Real peers: DCMTK's and pynetdicom's tools against our acceptor and our requestor."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pydicom
import pytest
import uvloop
from pydicom.data import get_testdata_file
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.presentation import build_context

from imex.dimse import AssociationRejected, ContextNotAccepted, Reject, StoreResponse, connect
from imex.testing.dimse import DimseRecorder, Instance, acceptor, read_instance

VERIFICATION = ("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])
NAMES = {
    "explicit": "CT_small.dcm",
    "implicit": "MR_small_implicit.dcm",
    "big endian": "MR_small_bigendian.dcm",
    "deflated": "image_dfl.dcm",
    "JPEG": "SC_rgb_jpeg_dcmtk.dcm",
    "JPEG-LS": "MR_small_jpeg_ls_lossless.dcm",
    "JPEG 2000": "MR_small_jp2klossless.dcm",
    "RLE": "MR_small_RLE.dcm",
    "structured report": "reportsi.dcm",
    "RT plan": "rtplan.dcm",
    "waveform": "waveform_ecg.dcm",
}
COMPRESSED = {"JPEG": "-xy", "JPEG-LS": "-xt", "JPEG 2000": "-xv", "RLE": "-xr", "deflated": "-xd"}


pytestmark = pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture')


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Everything on asyncio's own loop and on the one that the services run on."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


def path_of(kind: str) -> Path:
    found = get_testdata_file(NAMES[kind], download=False)
    assert isinstance(found, str)
    return Path(found)


async def tool(*command: str) -> str:
    """Run a tool to its end; its output. Fails when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode(errors="replace")
    return output.decode(errors="replace")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def storescp(directory: Path, *options: str) -> AsyncIterator[int]:
    """DCMTK's storescp on a free port, writing what it gets as it is."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "storescp", "+B", "-od", str(directory), *options, str(port)
    )
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def test_dcmtk_verifies() -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder) as listening:
        await tool("echoscu", "-aet", "RQM_PACS", "-aec", "IMEX", "127.0.0.1", str(listening.port))
        await recorder.wait(lambda: bool(recorder.ended))
    assert (recorder.requests[0].calling_ae, recorder.requests[0].called_ae) == ("RQM_PACS", "IMEX")
    assert recorder.requests[0].implementation_version.startswith("OFFIS")
    assert (recorder.ended[0].kind, recorder.ended[0].echoes) == ("released", 1)


@pytest.mark.parametrize("kind", ["explicit", "implicit", *COMPRESSED])
async def test_dcmtk_stores(kind: str) -> None:
    recorder, path = DimseRecorder(), path_of(kind)
    async with acceptor(recorder) as listening:
        options = [COMPRESSED[kind]] if kind in COMPRESSED else []
        await tool("storescu", *options, "127.0.0.1", str(listening.port), str(path))
        await recorder.wait(lambda: bool(recorder.ended))
    (stored,) = recorder.stored.values()
    expected = read_instance(path)
    assert stored.command.sop_instance_uid == expected.sop_instance
    if kind == "deflated":  # compressed again by the sender
        assert stored.command.transfer_syntax == expected.transfer_syntax
        return
    received = pydicom.dcmread(
        pydicom.filebase.DicomBytesIO(_as_file(stored.command.transfer_syntax, bytes(stored.data)))
    )
    original = pydicom.dcmread(path)
    assert received.PixelData == original.PixelData
    assert (recorder.ended[0].stored, recorder.ended[0].failed) == (1, 0)


def _as_file(transfer_syntax: str, data: bytes) -> bytes:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(transfer_syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        pydicom.uid.UID("1.2"),
        pydicom.uid.UID("1.2"),
    )
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.write(bytes(128) + b"DICM")
    pydicom.filewriter.write_file_meta_info(buffer, meta)
    return bytes(buffer.getvalue()) + data


async def test_dcmsend_sends_a_folder_over_several_associations_at_once(tmp_path: Path) -> None:
    recorder = DimseRecorder(keep=False)
    original = pydicom.dcmread(path_of("explicit"))
    for number in range(40):
        original.SOPInstanceUID = pydicom.uid.UID(f"1.2.3.{number + 1}")
        original.file_meta.MediaStorageSOPInstanceUID = original.SOPInstanceUID
        original.save_as(tmp_path / f"{number}.dcm")
    async with acceptor(recorder) as listening:
        await asyncio.gather(
            *(tool("dcmsend", "+sd", "127.0.0.1", str(listening.port), str(tmp_path)) for _ in range(4))
        )
        await recorder.wait(lambda: len(recorder.ended) == 4)
    assert len(recorder.stored) == 40
    assert [ended.stored for ended in recorder.ended] == [40] * 4


async def test_dcmtk_shows_a_rejection_a_refusal_and_its_comment() -> None:
    recorder = DimseRecorder(on_admit=lambda _: Reject.calling_ae_not_recognised())
    async with acceptor(recorder) as listening:
        with pytest.raises(AssertionError, match="Calling AE Title Not Recognized"):
            await tool("echoscu", "127.0.0.1", str(listening.port))
        recorder.on_admit = lambda _: None
        recorder.on_store = lambda _: StoreResponse(0xA700, "no agreement covers this")
        with pytest.raises(AssertionError, match=r"Out of resources[^~]*no agreement covers this"):
            await tool("storescu", "-d", "127.0.0.1", str(listening.port), str(path_of("explicit")))
        await recorder.wait(lambda: len(recorder.ended) == 1)
    assert recorder.ended[0].statuses == {0xA700: 1}
    assert recorder.ended[0].failed == 1


@pytest.mark.parametrize("kind", NAMES)
async def test_we_store_to_ourselves_unchanged(kind: str) -> None:
    recorder, instance = DimseRecorder(), read_instance(path_of(kind))
    contexts = [(instance.sop_class, [instance.transfer_syntax])]
    async with acceptor(recorder) as listening:
        async with connect("127.0.0.1", listening.port, "A", "B", contexts) as association:
            answer = await association.store(
                instance.sop_class,
                instance.sop_instance,
                instance.transfer_syntax,
                instance.chunks(1001),
                len(instance.data),
            )
        await recorder.wait(lambda: bool(recorder.ended))
    assert answer == StoreResponse(0, "")
    stored = recorder.stored[instance.sop_instance]
    assert bytes(stored.data) == instance.data + b"\0" * (len(instance.data) % 2)
    assert stored.command.transfer_syntax == instance.transfer_syntax


async def _store(port: int, instances: list[Instance]) -> list[StoreResponse]:
    contexts = sorted({(i.sop_class, (i.transfer_syntax,)) for i in instances})
    async with connect("127.0.0.1", port, "IMEX", "PEER", [VERIFICATION, *contexts]) as association:
        assert await association.echo() == 0
        return [
            await association.store(i.sop_class, i.sop_instance, i.transfer_syntax, i.chunks(), len(i.data))
            for i in instances
        ]


@pytest.mark.parametrize("pdu_bytes", ["4096", "16384", "131072"])
async def test_we_store_to_dcmtk_unchanged(tmp_path: Path, pdu_bytes: str) -> None:
    instances = [read_instance(path_of(kind)) for kind in NAMES if kind != "deflated"]
    async with storescp(tmp_path, "+xa", "-pdu", pdu_bytes) as port:
        assert await _store(port, instances) == [StoreResponse(0, "")] * len(instances)
    received = [read_instance(path) for path in sorted(tmp_path.iterdir())]  # noqa: ASYNC240
    assert {i.sop_instance: i.data for i in received} == {i.sop_instance: i.data for i in instances}


async def test_we_learn_what_dcmtk_does_not_accept(tmp_path: Path) -> None:
    jpeg, explicit = read_instance(path_of("JPEG 2000")), read_instance(path_of("explicit"))
    contexts = [(i.sop_class, [i.transfer_syntax]) for i in (jpeg, explicit)]
    async with (
        storescp(tmp_path) as port,
        connect("127.0.0.1", port, "IMEX", "PEER", contexts) as association,
    ):
        assert not association.accepts(jpeg.sop_class, jpeg.transfer_syntax)
        assert association.accepts(explicit.sop_class, explicit.transfer_syntax)
        with pytest.raises(ContextNotAccepted):
            await association.store(
                jpeg.sop_class, jpeg.sop_instance, jpeg.transfer_syntax, jpeg.chunks(), len(jpeg.data)
            )
        assert association.usable
    async with storescp(tmp_path, "--refuse") as port:
        with pytest.raises(AssociationRejected, match="rejected"):
            await _store(port, [explicit])


@contextlib.contextmanager
def pynetdicom_scp(status: int, received: list[Any]) -> Iterator[int]:
    def store(event: Any) -> int:
        received.append(event.request.DataSet.getvalue())
        return status

    entity = AE("PEER")
    entity.supported_contexts = StoragePresentationContexts
    entity.add_supported_context(VERIFICATION[0])
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.mark.parametrize("status", [0x0000, 0xA701])
async def test_we_store_to_pynetdicom(status: int) -> None:
    received: list[bytes] = []
    instance = read_instance(path_of("explicit"))
    with pynetdicom_scp(status, received) as port:
        assert await _store(port, [instance]) == [StoreResponse(status, "")]
    assert received == [instance.data]


async def test_pynetdicom_stores_and_sees_what_is_not_supported() -> None:
    recorder = DimseRecorder()
    dataset = pydicom.dcmread(path_of("implicit"))

    def send(port: int) -> tuple[list[str], int, int]:
        entity = AE("RQM_PACS")
        private, find = "1.2.826.0.1.3680043.9.9", "1.2.840.10008.5.1.4.1.2.2.1"
        entity.requested_contexts = [
            build_context(uid, "1.2.840.10008.1.2")
            for uid in (VERIFICATION[0], dataset.SOPClassUID, private, find)
        ]
        association = entity.associate("127.0.0.1", port)
        assert association.is_established
        status = association.send_c_store(dataset).Status
        echo = association.send_c_echo().Status
        refused = [str(context.abstract_syntax) for context in association.rejected_contexts]
        association.release()
        return refused, status, echo

    async with acceptor(recorder) as listening:
        refused, status, echo = await asyncio.to_thread(send, listening.port)
        await recorder.wait(lambda: bool(recorder.ended))
    assert refused == ["1.2.840.10008.5.1.4.1.2.2.1"]
    assert (status, echo) == (0, 0)
    assert recorder.ended[0].kind == "released"


async def test_a_64_mib_instance_passes_with_flat_memory() -> None:
    block = bytes(range(256)) * 4096
    offered = 0
    open_sink = asyncio.Event()
    recorder = DimseRecorder(keep=False)

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal offered
        for _ in range(64):
            offered += len(block)
            yield block

    async def wait(_: object) -> None:
        await open_sink.wait()

    recorder.on_write = wait
    multiframe, explicit = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.1.2.1"
    process = psutil.Process()
    before = process.memory_info().rss
    async with acceptor(recorder) as listening:
        async with connect("127.0.0.1", listening.port, "A", "B", [(multiframe, [explicit])]) as association:
            storing = asyncio.create_task(
                association.store(multiframe, "1.2.3", explicit, chunks(), 64 * len(block))
            )
            previous = -1
            while offered != previous:  # the sink takes nothing, so the sender comes to a stop
                previous = offered
                await asyncio.sleep(0.2)
            assert 0 < offered < 32 * len(block)  # what fits into the kernel's buffers and ours
            assert process.memory_info().rss - before < 24 * len(block)
            open_sink.set()
            assert (await storing).status == 0
        await recorder.wait(lambda: bool(recorder.ended))
    assert recorder.stored["1.2.3"].length == 64 * len(block)
    assert process.memory_info().rss - before < 24 * len(block)
