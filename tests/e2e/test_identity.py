"""What changes on the way out, on the whole stack: de-identified and back, and identifiers of one's own."""

import json
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp, dcmsend

Receiving = Callable[[Institution], StoreScp]
MRN, NAME = "MRN0815471", "OKONKWO^CHIDI"


def held(network: Network, institution: Institution) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted((network.folder / institution.code).iterdir())]


def segmentation(images: list[Dataset], path: Path) -> Path:
    """What a research group makes of images."""
    described = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lung",
        segmented_property_category=codes.cid7150.Tissue,
        segmented_property_type=codes.cid7166.ConnectiveTissue,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    made = hd.seg.Segmentation(
        source_images=images,
        pixel_array=np.ones((len(images), 32, 32), dtype=np.uint8),
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
    made.save_as(path)
    return path


def test_a_study_leaves_de_identified_and_its_segmentation_comes_back_as_the_origins(
    network: Network, receiving: Receiving
) -> None:
    origin, research = network.institution(), network.institution()
    network.agreement(origin, research, deidentify={"project": "p1", "options": ["clean-descriptors"]})
    network.agreement(research, origin)
    network.rule(origin, research)
    network.rule(research, origin, match={"source": research.code, "modality": "SEG"})
    network.apply()
    receiving(research)
    receiving(origin)
    study = synthetic_study(
        3, size=32, patient_id=MRN, issuer="", patient_name=NAME, description="CT thorax Okonkwo"
    )
    dcmsend(network.dicom_port, network.files(study), origin.ae_title)
    share = network.wait_share(study.study_uid, "delivered")

    images = held(network, research)
    assert len(images) == 3
    for image in images:
        assert not any(word in str(image).upper() for word in ("OKONKWO", MRN, study.accession))
        assert (image.PatientIdentityRemoved, image.StudyDescription) == ("YES", "CT thorax")
    given = str(images[0].StudyInstanceUID)
    [known] = network.get("/shares", token=research.code)["items"]
    assert (known["id"], known["study_uid"]) == (share["id"], given)
    receipt = network.get(f"/shares/{share['id']}/receipt", token=origin.code)
    assert {line["digest"] for line in receipt["instances"]} == set(study.digests.values())
    assert all("de-identified for project p1" in line["changes"][0] for line in receipt["instances"])

    dcmsend(network.dicom_port, [segmentation(images, network.folder / "seg.dcm")], research.ae_title)
    network.wait_share(given, "delivered", recipient=origin.code)
    [back] = held(network, origin)
    assert (back.StudyInstanceUID, back.PatientID, str(back.PatientName)) == (study.study_uid, MRN, NAME)
    [series] = back.ReferencedSeriesSequence
    referenced = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert referenced == {one.sop_instance_uid for one in study.instances}


def test_a_study_arrives_under_the_recipients_own_identifiers(network: Network, receiving: Receiving) -> None:
    source, recipient = network.institution(), network.institution()
    recipient.entry["endpoints"][0]["identity"] = {"patient_id": "map"}
    network.agreement(source, recipient)
    network.rule(source, recipient)
    network.apply()
    receiving(recipient)
    study = synthetic_study(2, size=32, patient_id=MRN, issuer="", patient_name=NAME)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    waiting = network.wait_share(study.study_uid, "partial")
    assert "has no Patient ID of its own" in waiting["reason"]

    between = ("--recipient", recipient.code, "--source", source.code)
    added = network.stack.imex("identifiers", "add", MRN, "B-77", *between, "--json")
    assert added.returncode == 0, added.stderr
    listed = network.stack.imex("identifiers", "list", "--recipient", recipient.code, "--json")
    assert [one["own"] for one in json.loads(listed.stdout)["items"]] == ["B-77"]
    collides = network.stack.imex("identifiers", "add", "MRN2", "B-77", *between)
    assert collides.returncode == 1 and "remove that first" in collides.stderr

    [delivery] = network.get("/deliveries", share=waiting["id"])["items"]
    assert network.stack.imex("deliveries", "retry", delivery["id"]).returncode == 0
    network.wait_share(study.study_uid, "delivered")
    for image in held(network, recipient):
        assert (image.PatientID, image.IssuerOfPatientID) == ("B-77", recipient.code)
        assert image.OtherPatientIDsSequence[0].PatientID == MRN
    removed = network.stack.imex("identifiers", "remove", json.loads(added.stdout)["id"])
    assert removed.returncode == 0, removed.stderr
