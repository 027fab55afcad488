"""Results come back by themselves on a running network: a segmentation over DICOM, a report by HL7.

And a recipient's system is told of a corrected patient by HL7.
"""

import base64
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import pytest
from pydicom import Dataset, dcmread
from tests.integration.test_deidentified_round_trip import segmentation

from imex.hl7.answer import TAKEN, acknowledgement
from imex.hl7.framing import FrameReader, framed
from imex.hl7.message import Message, read
from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network, reconciled
from imex.testing.peers import StoreScp, dcmsend

Receiving = Callable[[Institution], StoreScp]
PDF = b"%PDF-1.4 synthetic\n%%EOF\n"


def report(image: Dataset, maker: Institution) -> bytes:
    """A report on a study, as its maker's reporting system writes it."""
    document = base64.b64encode(PDF).decode()
    name = str(image.PatientName)
    segments = (
        f"MSH|^~\\&|RIS|{maker.code}|IMEX||20260402101500||ORU^R01^ORU_R01|R1|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{image.PatientID}^^^{image.IssuerOfPatientID}||{name}||{image.PatientBirthDate}|"
        f"{image.PatientSex}",
        f"OBR|1|PLC1|FIL1|CT^CT head^L{'|' * 14}{image.AccessionNumber}||||20260402101000|||F",
        "OBX|1|TX|59776-5&GDT^Findings^LN||No bleed.||||||F",
        f"OBX|2|ED|PDF^Report^L||^APPLICATION^PDF^Base64^{document}||||||F",
        f"ZDS|{image.StudyInstanceUID}^X^Application^DICOM",
    )
    return "".join(f"{one}\r" for one in segments).encode()


def tell(network: Network, message: bytes) -> Message:
    """Send a message through MLLP; the acknowledgement."""
    where = network.stack.described["hl7"]
    frames = FrameReader(1 << 20)
    with socket.create_connection((where["host"], where["port"]), timeout=30) as connection:
        connection.sendall(framed(message))
        while True:
            data = connection.recv(65536)
            assert data, "hung up without an answer"
            for answer in frames.feed(data):
                return read(answer)


def received(network: Network, study_uid: str, source: Institution) -> int:
    """How many instances of a study have come from an institution."""
    items = network.get("/studies", token=source.code, limit=100)["items"]
    return next((int(one["instances"]["received"]) for one in items if one["study_uid"] == study_uid), 0)


def came(receiver: StoreScp) -> list[Dataset]:
    return [dcmread(path, force=True) for path in receiver.files]


def modalities(datasets: Sequence[Dataset]) -> list[str]:
    return sorted(str(one.Modality) for one in datasets)


def test_a_segmentation_and_a_report_come_back_to_the_share_that_caused_them(
    network: Network, receiving: Receiving
) -> None:
    """And they alone, though their maker sends the images along; nothing goes round in circles."""
    origin, maker = network.institution(), network.institution()
    maker.entry["kind"] = "ai"
    maker.entry["senders"][0]["hl7"] = {"application": "RIS", "facility": maker.code}
    network.agreement(origin, maker)
    network.agreement(maker, origin, modalities=["SEG", "SR", "DOC"])
    network.rule(origin, maker)
    network.apply()
    at_origin, at_maker = receiving(origin), receiving(maker)
    study = synthetic_study(3, size=16)
    dcmsend(network.dicom_port, network.files(study), origin.ae_title)
    cause = network.wait_share(study.study_uid, "delivered")
    images = came(at_maker)

    made = segmentation(images)
    made.save_as(network.folder / "seg.dcm", enforce_file_format=True)
    dcmsend(network.dicom_port, [*at_maker.files, network.folder / "seg.dcm"], maker.ae_title)
    answer = tell(network, report(images[0], maker))
    assert answer.of("MSA")[0].text(1) == "AA", [one.text(8) for one in answer.of("ERR")]
    network.wait_for(
        lambda: modalities(came(at_origin)) == ["DOC", "SEG", "SR"], 30, "the results are at the origin"
    )
    results = {str(one.Modality): one for one in came(at_origin)}
    assert {one.StudyInstanceUID for one in results.values()} == {study.study_uid}
    assert results["SEG"].SOPInstanceUID == made.SOPInstanceUID
    assert results["SR"].ContentSequence[0].TextValue == "No bleed."
    assert results["DOC"].EncapsulatedDocument.rstrip(b"\0").startswith(PDF.rstrip())

    back = network.wait_share(study.study_uid, "delivered", recipient=origin.code)
    counts = back["instances"]
    assert (counts["received"], counts["delivered"], back["purpose"]) == (3, 3, "direct-care")
    network.wait_for(lambda: "result_returned" in network.steps(cause), 20, "told at its cause")
    told = [
        event["data"]
        for event in network.get("/events", token=origin.code, limit=1000)["items"]
        if event["type"] == "imex.share.result_returned"
    ]
    assert {(one["share"], one["result"], one["by"]) for one in told} == {
        (cause["id"], back["id"], maker.code)
    }

    # the origin's archive sends on what it got: its maker does not get it again
    dcmsend(network.dicom_port, at_origin.files, origin.ae_title)
    network.wait_for(lambda: received(network, study.study_uid, origin) == 6, 20, "they have come in")
    assert tell(network, report(images[0], maker)).of("MSA")[0].text(1) == "AA", "a repeat is a duplicate"
    assert network.wait_share(study.study_uid, "delivered", recipient=maker.code)["id"] == cause["id"]
    assert len(network.shares(study.study_uid)) == 2
    assert modalities(came(at_maker)) == ["CT", "CT", "CT"]
    assert reconciled(network)["balanced"]


class System(socketserver.ThreadingTCPServer):
    """A system that takes every HL7 message."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.taken: list[Message] = []


class Taking(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, System)
        frames = FrameReader(1 << 20)
        while data := self.request.recv(65536):
            for one in frames.feed(data):
                message = read(one)
                self.server.taken.append(message)
                answer = acknowledgement(message, TAKEN, datetime.now(UTC), "PACS")
                self.request.sendall(framed(answer))


@pytest.fixture
def system() -> Iterator[System]:
    with System() as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join(10)


def test_a_corrected_patient_is_told_to_a_system_that_takes_hl7(
    network: Network, receiving: Receiving, system: System
) -> None:
    source, recipient = network.institution(), network.institution()
    port = system.server_address[1]
    recipient.entry["endpoints"][0]["hl7"] = {"host": "127.0.0.1", "port": port}
    network.agreement(source, recipient)
    network.rule(source, recipient)
    network.apply()
    receiving(recipient)
    study = synthetic_study(1, size=16)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    body = {
        "source": source.code,
        "study_uid": study.study_uid,
        "kind": "demographics",
        "reason": "spelt wrongly",
        "person": {"right": {"patient_name": "OKONKWO^CHIDI"}},
    }
    opened = network.post("/corrections", body)
    assert opened.status_code == 201, opened.text
    path = f"/corrections/{opened.json()['id']}"

    def acknowledged() -> bool:
        (one,) = network.get(path)["concerned"]
        return bool(one["state"] == "notified" and one["acknowledged_by"] == f"{recipient.code} (HL7)")

    network.wait_for(acknowledged, 30, "the system's answer acknowledges it", lambda: str(network.get(path)))
    (message,) = system.taken
    assert message.kind == ("ADT", "A08")
    (pid,) = message.of("PID")
    assert (pid.text(5), pid.text(5, 2)) == ("OKONKWO", "CHIDI")
    assert "correction_notified" in network.steps(share)
    outstanding = network.get("/corrections", token=recipient.code, outstanding="true")["items"]
    assert opened.json()["id"] not in [one["id"] for one in outstanding]
