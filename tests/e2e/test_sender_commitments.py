"""A sender asks for a storage commitment: yes for what an archive has committed, and for nothing else."""

import asyncio
import json
from uuid import uuid4

from imex.delivery.confirming.dimse import Nodes
from imex.dicom.commitment import Reference, Report
from imex.directory.model import DicomEndpoint
from imex.testing.archive import Archive, archive
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import dcmsend


def ask(network: Network, who: Institution, study: SyntheticStudy, *more: Reference) -> Report:
    """What the sender is told on the association of its question."""
    query = network.stack.described["query"]
    node = DicomEndpoint(
        name="imex", type="dicom", ae_title=query["ae_title"], host=query["host"], port=query["port"]
    )
    references = [Reference(one.sop_class_uid, one.sop_instance_uid) for one in study.instances]
    nodes = Nodes(who.ae_title)
    try:
        asked = nodes.commit(node, f"2.25.{uuid4().int}", [*references, *more], 20.0)
        report = asyncio.run(asked)
    finally:
        nodes.close()
    assert report is not None
    return report


def test_a_sender_is_told_yes_only_for_what_an_archive_has_committed(network: Network) -> None:
    source, keeps, takes = (network.institution() for _ in range(3))
    source.entry["senders"][0]["commitment"] = True
    keeps.entry["endpoints"][0]["confirm"] = "commitment"
    for recipient in (keeps, takes):
        network.agreement(source, recipient)
    network.rule(source, keeps)
    with archive(Archive(keeps.ae_title)) as node, archive(Archive(takes.ae_title)) as other:
        keeps.entry["endpoints"][0]["port"] = node.port
        takes.entry["endpoints"][0]["port"] = other.port
        network.apply()
        study, merely_sent = synthetic_study(5, size=64), synthetic_study(2, size=64)
        dcmsend(network.dicom_port, network.files(study), source.ae_title)
        dcmsend(network.dicom_port, network.files(merely_sent), source.ae_title, takes.code)
        share = network.wait_share(study.study_uid, "delivered")
        network.wait_share(merely_sent.study_uid, "delivered", recipient=takes.code)

        unknown = Reference(study.instances[0].sop_class_uid, "2.25.4711")
        report = ask(network, source, study, unknown)
        assert set(report.committed) == set(study.digests)
        assert report.refused == {"2.25.4711": 0x0112}
        assert set(ask(network, source, merely_sent).refused) >= set(merely_sent.digests)

        listed = json.loads(network.stack.imex("commitments", "list", "--json").stdout)["items"]
        mine = [one for one in listed if one["institution"] == source.code]
        assert {(one["state"], one["committed"], one["refused"]) for one in mine} >= {("reported", 5, 1)}

        assert network.post(f"/shares/{share['id']}/revoke", token=source.code).status_code == 200
        revoked = ask(network, source, study)
        assert revoked.committed == ()
        assert set(revoked.refused.values()) == {0x0110}
    exported = network.stack.imex("audit", "export").stdout
    assert "commitment_told" in exported
