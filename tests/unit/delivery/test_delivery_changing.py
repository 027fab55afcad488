"""Changing payloads on the way out: any syntax, whole or in pieces, the bulk untouched, memory bounded."""

import asyncio
import hashlib
import struct
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from imex.deidentification.keys import ProjectKey
from imex.delivery.changing.changer import Changer
from imex.delivery.changing.coerced import Coercer
from imex.delivery.changing.decide import Coercion
from imex.delivery.changing.deidentified import Deidentifier
from imex.delivery.changing.encode import deflated, inflated
from imex.delivery.changing.form import Form
from imex.delivery.conversion import Converter
from imex.delivery.decide import Failing
from imex.delivery.jobs import Instance, Job
from imex.delivery.payloads import MISMATCH, Payload, PayloadBroken, ReadAhead, Reader
from imex.dicom import dataset_offset, file_meta
from imex.dicom.rewriting import EXPLICIT
from imex.dicom.syntax import encoding_of
from imex.directory.policies import Deidentification, IdentityPolicy
from imex.sealing import Sealer
from imex.testing.storage import MemoryStore

KEY = ProjectKey(bytes(32), "p1")
NOW = datetime(2026, 4, 1, tzinfo=UTC)
PIXELS = 0x7FE00010
JOB = Job(
    id=uuid4(), share=uuid4(), source="RQM", study_uid="1.2.3", recipient="RT3", endpoint="pacs", lane="bulk",
    priority="routine", attempt=1, failing=Failing(), created_at=NOW, started_at=NOW, expires_at=NOW,
    ae_title="", lease="", traceparent="",
)  # fmt: skip
FILES = [
    "CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "JPEG2000.dcm",
 "SC_rgb_rle_2frame.dcm", "rtplan.dcm", "reportsi.dcm",
    "liver_1frame.dcm", "test-SR.dcm", "693_J2KI.dcm", "ExplVR_BigEnd.dcm", "waveform_ecg.dcm",
]  # fmt: skip


class NoMappings:
    """A ledger without mappings."""

    async def own_for(self, *_: str) -> None:
        return None

    async def behind(self, *_: str) -> None:
        return None


def deidentifier(**asked: Any) -> Deidentifier:
    wanted = Deidentification.model_validate({"project": "p1", "burned_in": "release", **asked})
    return Deidentifier(JOB, wanted, KEY, Sealer({"k": bytes(32)}, "k"))


def coercer(**policy: Any) -> Coercer:
    return Coercer(JOB, Coercion(IdentityPolicy.model_validate(policy), False), NoMappings())  # type: ignore[arg-type]


async def stored(store: MemoryStore, data: bytes, syntax: str, uid: str = "1.2.9") -> Instance:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    await store.put(uid, file_meta("1.2", uid, syntax) + data)
    return Instance(uid, "1.2", syntax, uid, len(data), digest, 0)


async def sent(
    store: MemoryStore, instance: Instance, form: Form, whole_bytes: int, most: int = 64 << 20
) -> Payload:
    changer = Changer(form, asyncio.Semaphore(2), most)
    reading = Reader(store, ReadAhead(whole_bytes=whole_bytes)).begin(instance, ahead=False, prepare=changer)
    assert reading is not None
    payload = await reading.payload()
    reading.close()
    return payload


async def content(payload: Payload) -> bytes:
    return b"".join([bytes(chunk) async for chunk in payload.chunks()])


def parsed(data: bytes, syntax: str) -> Dataset:
    encoding = encoding_of(syntax)
    if encoding.deflated:
        data = inflated(data, 1 << 30)
    return read_dataset(BytesIO(data), encoding.implicit, not encoding.big_endian)


def file_named(name: str) -> tuple[bytes, str]:
    path = get_testdata_file(name)
    if path is None:
        pytest.skip("not part of pydicom's wheel")
    content = Path(path).read_bytes()
    syntax = str(pydicom.dcmread(path, stop_before_pixels=True, force=True).file_meta.TransferSyntaxUID)
    return content[dataset_offset(content) :], syntax


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("whole_bytes", [1 << 30, 64], ids=["whole", "streamed"])
async def test_the_pixel_data_is_untouched_and_nobody_is_left_in_the_header(
    name: str, whole_bytes: int
) -> None:
    store = MemoryStore()
    data, syntax = file_named(name)
    before = parsed(data, syntax)
    payload = await sent(store, await stored(store, data, syntax), deidentifier(), whole_bytes)
    assert not payload.broken
    out = await content(payload)
    assert len(out) == payload.size
    assert payload.delivered_digest == "sha256:" + hashlib.sha256(out).hexdigest()
    after = parsed(out, syntax)
    assert (after.get(PIXELS) is None) == (before.get(PIXELS) is None)
    if PIXELS in before:
        assert after[PIXELS].value == before[PIXELS].value
    assert after.PatientID == after.PatientName != before.get("PatientID")
    assert after.SOPInstanceUID == payload.sop_instance_uid == KEY.uid(before.SOPInstanceUID)
    assert payload.changes == ("de-identified for project p1 (PS3.15 Basic Profile)",)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("whole_bytes", [1 << 30, 64], ids=["whole", "streamed"])
async def test_coercion_changes_what_it_names_and_nothing_else(name: str, whole_bytes: int) -> None:
    store = MemoryStore()
    data, syntax = file_named(name)
    before = parsed(data, syntax)
    payload = await sent(
        store, await stored(store, data, syntax), coercer(patient_id="add-issuer"), whole_bytes
    )
    out = await content(payload)
    if not before.get("PatientID") or before.get("IssuerOfPatientID"):
        assert out == data
        assert payload.delivered_digest == "" and payload.changes == ()
        return
    after = parsed(out, syntax)
    assert after.IssuerOfPatientID == "RQM"
    for tag in sorted(tag for tag in before.keys() if tag.element):  # noqa: SIM118  not group lengths
        assert after[tag].value == before[tag].value
    assert payload.changes == ("issuer of Patient ID added",)


@pytest.mark.parametrize("syntax", [EXPLICIT, "1.2.840.10008.1.2.4.90"])
@pytest.mark.parametrize("whole_bytes", [1 << 30, 64], ids=["whole", "streamed"])
async def test_what_follows_the_pixel_data_is_left_out(syntax: str, whole_bytes: int) -> None:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID, header.StudyInstanceUID = "1.2", "1.2.9", "1.2.3"
    header.PatientName, header.PatientID, header.Modality = "SECRETIVE^ANNA", "MRN0815", "CT"
    out = BytesIO()
    pydicom.filewriter.write_dataset(_writing(out), header)
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0
    )
    pixels += (
        struct.pack("<HHL", 0xFFFE, 0xE000, 200_000)
        + b"\7" * 200_000
        + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    )
    if syntax == EXPLICIT:
        pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 100_000) + b"\7" * 100_000
    tail = struct.pack("<HH2sH", 0x7FE1, 0x0010, b"LO", 14) + b"SECRETIVE^ANNA"
    store = MemoryStore()
    instance = await stored(store, out.getvalue() + pixels + tail, syntax)
    data = await content(payload := await sent(store, instance, deidentifier(), whole_bytes))
    assert len(data) == payload.size and b"SECRETIVE" not in data and pixels in data
    kept = await content(await sent(store, instance, coercer(patient_id="add-issuer"), whole_bytes))
    assert kept.endswith(pixels + tail)


def _writing(target: BytesIO) -> Any:
    made = pydicom.filebase.DicomFileLike(target)
    made.is_little_endian, made.is_implicit_VR = True, False
    return made


async def test_a_spoilt_payload_is_not_given_out_to_its_end() -> None:
    store = MemoryStore()
    data, syntax = file_named("CT_small.dcm")
    instance = await stored(store, data, syntax)
    await store.put("1.2.9", file_meta("1.2", "1.2.9", syntax) + data[:-200] + bytes(200))
    payload = await sent(store, instance, deidentifier(), 64)
    given = 0
    with pytest.raises(PayloadBroken, match="digest"):
        async for chunk in payload.chunks():
            given += len(chunk)
    assert given < payload.size
    assert (await sent(store, instance, deidentifier(), 1 << 30)).broken == MISMATCH


async def test_what_cannot_be_changed_says_why() -> None:
    store = MemoryStore()
    data, syntax = file_named("CT_small.dcm")
    large = await sent(store, await stored(store, data, syntax), deidentifier(), 64, most=1000)
    assert "larger than the 0 MiB that can be changed" in large.broken
    torn = await sent(store, await stored(store, data[:301], syntax), deidentifier(), 1 << 30)
    assert torn.broken == "its header cannot be read to be changed"
    bomb = await stored(store, deflated(bytes(3 << 20)), "1.2.840.10008.1.2.1.99")
    assert (
        "inflates to more than 1 MiB"
        in (await sent(store, bomb, deidentifier(), 1 << 30, most=1 << 20)).broken
    )
    held = await sent(store, await stored(store, data, syntax), coercer(patient_id="map"), 64)
    assert held.broken.startswith("held: RT3 has no Patient ID of its own")


async def test_conversion_goes_on_from_what_was_changed() -> None:
    store = MemoryStore()
    data, syntax = file_named("MR_small_implicit.dcm")
    payload = await sent(store, await stored(store, data, syntax), deidentifier(), 1 << 30)
    converted = parsed(bytes(await Converter().convert(payload, EXPLICIT)), EXPLICIT)
    assert converted.PatientIdentityRemoved == "YES"
    assert converted[PIXELS].value == parsed(data, syntax)[PIXELS].value


async def test_memory_stays_flat_whatever_the_size() -> None:
    size = 256 << 20
    block = bytes(1 << 20)
    data, _ = file_named("CT_small.dcm")
    head = data[: data.rindex(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))]
    head += struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, size)
    digest = hashlib.sha256(head)
    for _ in range(size >> 20):
        digest.update(block)

    class Endless(MemoryStore):
        async def stream(self, key: str, offset: int = 0) -> AsyncIterator[bytes]:
            yield file_meta("1.2", "1.2.9", EXPLICIT) + head
            for _ in range(size >> 20):
                yield block

    instance = Instance("1.2.9", "1.2", EXPLICIT, "k", len(head) + size, "sha256:" + digest.hexdigest(), 0)
    payload = await sent(Endless(), instance, deidentifier(), 1 << 20)
    tracemalloc.start()
    length = 0
    async for chunk in payload.chunks():
        length += len(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length == payload.size > size
    assert peak < 16 << 20
