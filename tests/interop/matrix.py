"""What is checked of each peer: C-ECHO, a study byte for byte, every kind of encoding element by element."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID
from tests.integration.delivery_world import Passage, World
from tests.integration.interop_world import CALLED_AE, CALLING_AE, Arrival, Exchange, arrival_of, elements
from tests.interop.table import Row

from imex.dimse import connect
from imex.dimse.tls import client_context
from imex.local.certificates import Certificates
from imex.testing.dicom import SyntheticInstance, new_uid, synthetic_study
from imex.testing.dimse import Instance, read_instance
from imex.testing.interop.peer import Node, PeerFailed, PeerTls, Receiver, Sender

Transport = Literal["plain", "TLS"]
SLICES = 20
SAMPLES = {
    "Implicit VR Little Endian": "MR_small_implicit.dcm",
    "Explicit VR Little Endian": "CT_small.dcm",
    "Explicit VR Big Endian": "MR_small_bigendian.dcm",
    "Deflated Explicit VR Little Endian": "image_dfl.dcm",
    "JPEG Baseline": "SC_rgb_jpeg_dcmtk.dcm",
    "JPEG Extended": "JPGExtended.dcm",
    "JPEG Lossless": "SC_rgb_jpeg_gdcm.dcm",
    "JPEG-LS Lossless": "MR_small_jpeg_ls_lossless.dcm",
    "JPEG-LS Near-lossless": "JPEGLSNearLossless_08.dcm",
    "JPEG 2000 Lossless": "MR_small_jp2klossless.dcm",
    "JPEG 2000": "JPEG2000.dcm",
    "RLE Lossless": "MR_small_RLE.dcm",
    "structured report": "reportsi.dcm",
    "RT plan": "rtplan.dcm",
    "segmentation": "liver_1frame.dcm",
    "ECG waveform": "waveform_ecg.dcm",
}
"""Kinds of encoding and of object, and a file of pydicom's that is one."""


def samples(folder: Path) -> dict[str, Path]:
    """A file of each kind, under a SOP Instance UID of its own: some of pydicom's share theirs.

    Study and series, without which Orthanc keeps nothing, and the VR of encapsulated pixel data (PS3.5 A.4)
    are put right where a file lacks them.
    """
    folder.mkdir(parents=True)
    made = {}
    for number, (kind, name) in enumerate(SAMPLES.items(), start=1):
        found = get_testdata_file(name, download=False)
        assert isinstance(found, str)
        dataset = pydicom.dcmread(found)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(new_uid())
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            if keyword not in dataset:
                setattr(dataset, keyword, new_uid())
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            dataset["PixelData"].VR = "OB"
        made[kind] = folder / f"{number:02}.dcm"
        dataset.save_as(made[kind])
    return made


async def check_sender(sender: Sender, imex: Exchange, transport: Transport, folder: Path) -> Row:
    """A peer sends to ingest. Fails where anything arrives otherwise than it was sent."""
    node = Node(CALLING_AE, CALLED_AE, imex.port)
    if transport == "TLS":
        node = replace(node, port=imex.tls_port, tls=imex.tls)
        if sender.no_tls:
            pytest.skip(sender.no_tls)
    echo = "yes"
    try:
        await asyncio.to_thread(sender.echo, node, folder)
    except NotImplementedError as error:
        echo = str(error)
    study = synthetic_study(SLICES, size=64)
    await asyncio.to_thread(sender.send, study.write(folder / "study"), node, folder)
    if sender.encodes_anew:
        arrived = {each.sop_instance: elements(each) for each in await imex.instances()}
        assert arrived == {each.sop_instance_uid: elements(_instance(each)) for each in study.instances}
    else:
        assert await imex.arrived() == Counter(_arrival(each) for each in study.instances)
    files = samples(folder / "samples")
    sent = [file for kind, file in files.items() if kind not in sender.omits]
    await asyncio.to_thread(sender.send, sent, node, folder)
    _same((read_instance(file) for file in sent), await imex.instances())
    with pytest.raises(PeerFailed):
        await asyncio.to_thread(sender.send, sent[:1], replace(node, calling_ae="NOBODY"), folder)
    return Row(
        peer=sender.name,
        version=sender.version(),
        direction="to Imex",
        transport=transport,
        echo=echo,
        study=sender.encodes_anew,
        kinds=len(SAMPLES),
        omits=sender.omits,
    )


async def check_receiver(receiver: Receiver, world: World, transport: Transport, folder: Path) -> Row:
    """Delivery sends to a peer. Fails where the peer holds anything else than what was handed in."""
    secured = transport == "TLS"
    authority = Certificates(folder / "certificates")
    own, theirs = authority.client("IMEX"), authority.server()
    context = client_context(authority.ca, own.certificate, own.key) if secured else None
    tls = PeerTls(authority.ca, theirs.certificate, theirs.key) if secured else None
    with receiver.receiving("RT3_PACS", folder / "receiver", tls) as receiving:
        contexts = [("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])]
        address = ("127.0.0.1", receiving.port)
        async with connect(*address, CALLED_AE, "RT3_PACS", contexts, tls=context) as association:
            assert await association.echo() == 0x0000
        world.endpoint("RT3", receiving.port, **({"tls": True} if secured else {}))
        study, passage = synthetic_study(SLICES, size=64), Passage("RT3")
        files = samples(folder / "samples")
        sent = [read_instance(file) for kind, file in files.items() if kind not in receiver.omits]
        encoded = Passage("RT3")
        async with world.working(tls=(lambda: context) if secured else None):
            await world.issue(passage, study.instances)
            await world.issue(encoded, [_even(each) for each in sent])
            await world.until_outcome(passage, "delivered")
            await world.until_outcome(encoded, "delivered")
        held = receiving.instances()
        version = receiver.version()
    assert {arrival_of(each) for each in held} >= {_arrival(each) for each in study.instances}
    _same(sent, held)
    return Row(
        peer=receiver.name,
        version=version,
        direction="from Imex",
        transport=transport,
        echo="yes",
        study="",
        kinds=len(SAMPLES),
        omits=receiver.omits,
    )


def _arrival(instance: SyntheticInstance) -> Arrival:
    digest = instance.digest.removeprefix("sha256:")
    return Arrival(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax, digest)


def _even(instance: Instance) -> SyntheticInstance:
    """As it lies in the store: of even length."""
    data = instance.data + b"\0" * (len(instance.data) % 2)
    return SyntheticInstance(instance.sop_class, instance.sop_instance, instance.transfer_syntax, data)


def _same(sent: Iterable[Instance], arrived: Iterable[Instance]) -> None:
    found = {each.sop_instance: each for each in arrived}
    for each in sent:
        got = found[each.sop_instance]
        assert (got.sop_class, got.transfer_syntax) == (each.sop_class, each.transfer_syntax)
        assert elements(got) == elements(each), each.transfer_syntax


def _instance(instance: SyntheticInstance) -> Instance:
    return Instance(
        instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax, instance.dataset
    )
