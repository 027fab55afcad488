"""A study leaves de-identified, what is made of it comes back, and its origin gets that as its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.codedict import codes
from sqlalchemy import insert, select
from tests.integration.delivery_world import Passage, World, delivery_world, storescp, until

from imex.db.tables import delivery as tables
from imex.deidentification.reading import uids_of
from imex.dicom import dataset_digest
from imex.events.audit import AuditRecorded
from imex.events.deliveries import DeliveryProgressed
from imex.receipts.signature import verify
from imex.testing.dicom import SyntheticInstance, SyntheticStudy, synthetic_study

PROJECT = {"project": "p1", "options": ["retain-longitudinal-modified-dates", "clean-descriptors"]}
NAME = "OKONKWO^CHIDI"
MRN = "MRN0815471"


def study(slices: int = 3, **overrides: Any) -> SyntheticStudy:
    return synthetic_study(
        slices,
        size=16,
        patient_id=MRN,
        issuer="",
        patient_name=NAME,
        birth_date="19710403",
        overrides={"StudyDescription": "CT thorax Okonkwo", "LongitudinalTemporalInformationModified": None}
        | overrides,
    )


def received(directory: Path) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted(directory.iterdir())]


def digests(directory: Path) -> set[str]:
    return {dataset_digest(path.read_bytes()) for path in directory.iterdir()}


def encoded(dataset: Dataset) -> SyntheticInstance:
    """A data set as its maker would send it."""
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = True, False
    plain = Dataset()
    plain.update({tag: dataset[tag] for tag in dataset.keys()})  # noqa: SIM118
    write_dataset(target, plain)
    return SyntheticInstance(
        str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), "1.2.840.10008.1.2.1", target.getvalue()
    )


def segmentation(images: Sequence[Dataset]) -> Dataset:
    """A segmentation of them, as a research group's tool makes it."""
    pixels = np.zeros((len(images), 16, 16), dtype=np.uint8)
    pixels[:, 4:8, 4:8] = 1
    described = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lung",
        segmented_property_category=codes.cid7150.Tissue,
        segmented_property_type=codes.cid7166.ConnectiveTissue,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    return hd.seg.Segmentation(
        source_images=list(images),
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[described],
        series_instance_uid=hd.UID(),
        series_number=100,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Research",
        manufacturer_model_name="Segmenter",
        software_versions="1",
        device_serial_number="1",
    )


def report(images: Sequence[Dataset]) -> Dataset:
    """A structured report on them, which names the patient by the pseudonym in its text."""
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(uid=hd.UID()),
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=hd.sr.CodedConcept("25045-6", "LN", "CT unspecified body region"),
        imaging_measurements=[
            hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(hd.UID(), f"lesion of {images[0].PatientID}"),
                source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(images[0])],
                measurements=[
                    hd.sr.Measurement(name=codes.SCT.Length, value=12.0, unit=codes.UCUM.Millimeter)
                ],
            )
        ],
    )
    return hd.sr.Comprehensive3DSR(
        evidence=list(images),
        content=content,
        series_number=101,
        series_instance_uid=hd.UID(),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Research",
        is_complete=True,
        is_final=True,
        is_verified=False,
    )


def agreements(world: World) -> None:
    world.agreements(
        {"id": "out", "from": "RQM", "to": "RT3", "purposes": ["research"], "deidentify": PROJECT},
        {"id": "back", "from": "RT3", "to": "RQM", "purposes": ["direct-care"]},
    )


async def test_the_round_trip(empty_database_url: str, tmp_path: Path) -> None:
    folders = {code: tmp_path / code for code in ("RT3", "RQM")}
    for folder in folders.values():
        folder.mkdir()
    sent = study()
    async with (
        delivery_world(empty_database_url) as world,
        storescp(folders["RT3"]) as there,
        storescp(folders["RQM"]) as home,
    ):
        world.endpoint("RT3", there)
        world.endpoint("RQM", home)
        agreements(world)
        out = Passage("RT3", sent.study_uid, agreement="out")
        async with world.working():
            await world.issue(out, sent.instances)
            await world.until_outcome(out, "delivered")
            images = received(folders["RT3"])
            _nobody_is_left(images, sent)
            await _receipt_has_both_digests(world, out, digests(folders["RT3"]))

            made = [segmentation(images), report(images)]
            pseudonym = str(images[0].PatientID)
            back = Passage("RQM", str(images[0].StudyInstanceUID), source="RT3", agreement="back")
            await world.issue(back, [encoded(one) for one in made])
            await world.until_outcome(back, "delivered")
        returned = {str(one.Modality): one for one in received(folders["RQM"])}
        [receipt] = await world.receipts(back)
        for line in receipt.document["instances"]:
            assert line["changes"] == ["re-identified from project p1"] and "delivered_digest" not in line
        audited = [one.data for one in await world.events(AuditRecorded)]
        progress = [one.data for one in await world.events(DeliveryProgressed)]
    told = {(one.share, one.given_study_uid) for one in progress}
    assert told == {(out.share, str(images[0].StudyInstanceUID)), (back.share, None)}
    assert set(returned) == {"SEG", "SR"}
    assert [(one.agreement, one.details["changes"].split(" ")[0]) for one in audited] == [
        ("out", "de-identified"),
        ("back", "re-identified"),
    ]
    originals = {str(one.sop_instance_uid) for one in sent.instances}
    for one in returned.values():
        assert (one.StudyInstanceUID, one.PatientID, str(one.PatientName)) == (sent.study_uid, MRN, NAME)
        assert (one.PatientBirthDate, one.AccessionNumber) == ("19710403", sent.accession)
        assert one.StudyDate == "20260401"
        assert originals & uids_of(one), "references are to what the origin has"
        assert not {str(image.SOPInstanceUID) for image in images} & uids_of(one)
        assert pseudonym not in str(one)
    assert {one.sop_instance_uid for one in map(encoded, made)} == {
        str(one.SOPInstanceUID) for one in returned.values()
    }
    seg = returned["SEG"]
    assert np.array_equal(seg.pixel_array, made[0].pixel_array)


def _nobody_is_left(images: Sequence[Dataset], sent: SyntheticStudy) -> None:
    assert len(images) == len(sent.instances)
    before = {uid for one in sent.instances for uid in (one.sop_instance_uid, sent.study_uid)}
    for one in images:
        text = str(one).upper()
        assert not any(word in text for word in ("OKONKWO", "CHIDI", MRN, "19710403", sent.accession))
        assert not before & uids_of(one)
        assert one.PatientIdentityRemoved == "YES"
        assert one.StudyDescription == "CT thorax"
        assert one.StudyDate < "20260401"
    assert len({(one.StudyInstanceUID, one.PatientID) for one in images}) == 1


async def _receipt_has_both_digests(world: World, passage: Passage, came: set[str]) -> None:
    [receipt] = await world.receipts(passage)
    verify(receipt.document, receipt.signature, world.signer.public_jwk)
    lines = receipt.document["instances"]
    assert receipt.document["complete"] is True
    assert {line["delivered_digest"] for line in lines} == came
    assert not came & {line["digest"] for line in lines}
    assert all("de-identified for project p1" in line["changes"][0] for line in lines)


async def test_copies_of_what_was_sent_are_not_returned(empty_database_url: str, tmp_path: Path) -> None:
    sent = study(1)
    (tmp_path / "there").mkdir()
    async with delivery_world(empty_database_url) as world, storescp(tmp_path / "there") as port:
        world.endpoint("RT3", port)
        world.endpoint("RQM", port)
        agreements(world)
        out = Passage("RT3", sent.study_uid, agreement="out")
        async with world.working():
            await world.issue(out, sent.instances)
            await world.until_outcome(out, "delivered")
            [image] = received(tmp_path / "there")
            back = Passage("RQM", str(image.StudyInstanceUID), source="RT3", agreement="back")
            await world.issue(back, [encoded(image)])
            await world.until_outcome(back, "failed")
        [row] = (await world.instances(back)).values()
        assert "only what is new is returned" in row.reason


async def test_an_image_that_may_show_who_it_is_is_held_and_the_others_flow(
    empty_database_url: str, tmp_path: Path
) -> None:
    sent, risky = study(2), study(1, BurnedInAnnotation="YES")
    named = study(1, ManufacturerModelName="Chidi's scanner")
    async with delivery_world(empty_database_url) as world, storescp(tmp_path) as port:
        world.endpoint("RT3", port)
        agreements(world)
        out = Passage("RT3", sent.study_uid, agreement="out")
        async with world.working():
            await world.issue(out, [*sent.instances, *risky.instances, *named.instances])
            await world.until_outcome(out, "partial")
            rows = await world.instances(out)
            assert "stands in the pixels" in rows[risky.instances[0].sop_instance_uid].reason
            assert "name is left in (0008,1090)" in rows[named.instances[0].sop_instance_uid].reason
            assert len(received(tmp_path)) == 2

            world.agreements(
                {"id": "out", "from": "RQM", "to": "RT3", "purposes": ["research"],
                 "deidentify": {**PROJECT, "burned_in": "release"}},
            )  # fmt: skip
            await world.hand_in(world.command(out, "retry"))
            await world.until_outcome(out, "partial")
            rows = await world.instances(out)
        assert rows[risky.instances[0].sop_instance_uid].state == "confirmed"
        assert rows[named.instances[0].sop_instance_uid].state == "failed"


@pytest.mark.parametrize("agreement", ["gone", None])
async def test_nothing_leaves_while_the_agreement_cannot_be_found(
    empty_database_url: str, tmp_path: Path, agreement: str | None
) -> None:
    sent = study(1)
    async with delivery_world(empty_database_url) as world, storescp(tmp_path) as port:
        world.endpoint("RT3", port)
        agreements(world)
        out = Passage("RT3", sent.study_uid, agreement=agreement)
        async with world.working():
            await world.issue(out, sent.instances)
            row = await world.until_failing(out)
        assert "agreement" in row.reason
        assert not received(tmp_path)


async def test_what_began_de_identified_goes_on_so(empty_database_url: str, tmp_path: Path) -> None:
    first, late = study(1), study(1)
    async with delivery_world(empty_database_url) as world, storescp(tmp_path) as port:
        world.endpoint("RT3", port)
        agreements(world)
        out = Passage("RT3", first.study_uid, agreement="out")
        async with world.working():
            await world.issue(out, first.instances)
            await world.until_outcome(out, "delivered")
            world.agreements({"id": "out", "from": "RQM", "to": "RT3", "purposes": ["research"]})
            await world.issue(out, late.instances)
            await world.until_outcome(out, "delivered")
            rows = await world.instances(out)
        assert rows[late.instances[0].sop_instance_uid].delivered_digest
        assert all(one.PatientIdentityRemoved == "YES" for one in received(tmp_path))


async def test_patient_data_is_sealed(empty_database_url: str, tmp_path: Path) -> None:
    sent = study(2)
    async with delivery_world(empty_database_url) as world, storescp(tmp_path) as port:
        world.endpoint("RT3", port)
        agreements(world)
        out = Passage("RT3", sent.study_uid, agreement="out")
        async with world.working():
            await world.issue(out, sent.instances)
            await world.until_outcome(out, "delivered")
        async with world.database.unit() as unit:
            for table in (tables.pseudonyms, tables.releases, tables.given_uids, tables.instances):
                rows = list(await unit.connection.execute(select(table)))
                assert rows and not any(word in str(rows) for word in ("OKONKWO", MRN, sent.accession))
            given = list(await unit.connection.execute(select(tables.given_uids)))
        assert len({row.given for row in given}) == len(given) >= 5  # study, series, frame, two instances


async def test_a_project_stops_without_the_key_it_began_with(empty_database_url: str, tmp_path: Path) -> None:
    sent = study(1)
    async with delivery_world(empty_database_url) as world, storescp(tmp_path) as port:
        world.endpoint("RT3", port)
        agreements(world)
        async with world.database.unit() as unit:
            await unit.connection.execute(insert(tables.projects).values(project="p1", key_id="k0"))
        out = Passage("RT3", sent.study_uid, agreement="out")
        async with world.working():
            await world.issue(out, sent.instances)
            row = await world.until_failing(out)
        assert "project p1 began with sealing key k0, which IMEX_SEALING_KEYS lacks" in row.reason
        assert not received(tmp_path)


async def test_a_directory_that_routing_knew_first_costs_no_attempt(
    empty_database_url: str, tmp_path: Path
) -> None:
    sent = study(1)
    async with delivery_world(empty_database_url) as world, storescp(tmp_path) as port:
        world.endpoint("RT3", port)
        out = Passage("RT3", sent.study_uid, agreement="out")
        async with world.working():
            await world.issue(out, sent.instances)
            await until(lambda: world.row(out), lambda row: row.state == "running")
            agreements(world)
            row = await world.until_outcome(out, "delivered")
        assert row.attempts == 1
        [image] = received(tmp_path)
        assert image.PatientIdentityRemoved == "YES"
