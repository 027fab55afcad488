"""A recipient's PACS pulls over DICOM what has been shared with it; nobody else finds anything."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from imex.local.hospital import digest_of
from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp, dcmsend

Receiving = Callable[[Institution], StoreScp]


def dcmtk(network: Network, tool: str, who: Institution, *options: str, tls: bool = False) -> str:
    """What one of DCMTK's query tools says, as an institution's PACS."""
    query, secured = network.stack.described["query"], network.stack.described["tls"]
    shown: list[str] = []
    if tls:
        shown = ["+tls", secured["client_key"][who.code], secured["client_cert"][who.code]]
        shown += ["+cf", secured["ca"]]
    done = subprocess.run(
        [
            *(tool, "-d", "-S", *shown, *options, "-aet", who.ae_title, "-aec", query["ae_title"]),
            *("localhost" if tls else query["host"], str(query["tls_port"] if tls else query["port"])),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def keys(**values: str) -> list[str]:
    return [part for name, value in values.items() for part in ("-k", f"{name}={value}")]


def test_a_recipients_pacs_queries_and_retrieves_and_nobody_else_finds_anything(
    network: Network, receiving: Receiving, tmp_path: Path
) -> None:
    source, recipient = network.pair()
    stranger = network.institution()
    network.apply()
    receiver = receiving(recipient)
    study = synthetic_study(6, size=64)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    whole = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=study.study_uid)

    wanted = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="", AccessionNumber=study.accession)
    for tls in (False, True):
        assert study.study_uid in dcmtk(network, "findscu", recipient, *wanted, tls=tls)
    assert study.study_uid not in dcmtk(network, "findscu", stranger, *wanted)
    moved = dcmtk(network, "movescu", recipient, "-aem", recipient.ae_title, *whole)
    assert "0x0000: Success" in moved, moved
    assert receiver.held() == sorted([*study.digests.values()] * 2), "delivered, and then pulled"
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    dcmtk(network, "getscu", recipient, "-od", str(fetched), "+B", *whole)
    assert sorted(digest_of(path.read_bytes()) for path in fetched.iterdir()) == sorted(
        study.digests.values()
    )
    elsewhere = dcmtk(network, "movescu", recipient, "-aem", stranger.ae_title, *whole)
    assert "0xa801" in elsewhere.lower(), elsewhere
    network.wait_for(
        lambda: "viewed" in network.steps(share), 20, "the timeline says that the recipient has retrieved it"
    )

    assert network.post(f"/shares/{share['id']}/revoke", token=source.code).status_code == 200
    assert study.study_uid not in dcmtk(network, "findscu", recipient, *wanted)
    exported = network.stack.imex("audit", "export").stdout
    assert share["id"] in exported
