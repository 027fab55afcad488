"""The DICOM ports of a stack: who speaks on the TLS port, changed certificates, stopping under traffic."""

import hashlib
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.association import Association

from imex.local import programs
from imex.local.certificates import Certificates
from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp
from imex.testing.stack import LocalStack, running_stack

Receiving = Callable[[Institution], StoreScp]
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SEVERAL = 4


def dcmtk(
    program: str,
    network: Network,
    owner: Institution | None,
    calling: str,
    *files: Path,
    tls: Mapping[str, Any] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A DCMTK tool on the TLS port, with an institution's certificate or with none."""
    described = network.stack.described
    tls = tls or described["tls"]
    path = programs.dcmtk(program)
    assert path, "DCMTK is not installed; run: apt-get install -y dcmtk"
    shown = ["+tla"]
    if owner is not None:
        shown = ["+tls", tls["client_key"][owner.code], tls["client_cert"][owner.code]]
    return subprocess.run(
        [
            *(path, "-v", "-aet", calling, "-aec", "IMEX", *shown, "+cf", tls["ca"]),
            *("127.0.0.1", str(described["dicom"]["tls_port"]), *map(str, files)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def associated(network: Network, owner: Institution) -> Iterator[Association]:
    """An association of pynetdicom's on the TLS port, released at the end."""
    tls = network.stack.described["tls"]
    context = ssl.create_default_context(cafile=tls["ca"])
    context.load_cert_chain(tls["client_cert"][owner.code], tls["client_key"][owner.code])
    entity = AE(ae_title=owner.ae_title)
    entity.add_requested_context(CT, EXPLICIT)
    port = network.stack.described["dicom"]["tls_port"]
    association = entity.associate("127.0.0.1", port, ae_title="IMEX", tls_args=(context, "localhost"))
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def shown_certificate(network: Network) -> bytes:
    """What ingest shows on its TLS port now, in DER."""
    described = network.stack.described
    context = ssl.create_default_context(cafile=described["tls"]["ca"])
    address = ("127.0.0.1", described["dicom"]["tls_port"])
    with (
        socket.create_connection(address, timeout=10) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
    assert shown
    return shown


def sha256_of(network: Network, owner: Institution) -> str:
    pem = Path(network.stack.described["tls"]["client_cert"][owner.code]).read_text()
    return f"sha256:{hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()}"


def audited(network: Network, *words: str) -> None:
    """Wait until one record of the audit export has all of these."""
    network.wait_for(
        lambda: any(
            all(word in record for word in words)
            for record in network.stack.imex("audit", "export").stdout.splitlines()
        ),
        20,
        f"an audit record has {', '.join(words)}",
    )


def test_a_study_sent_with_a_certificate_arrives(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiver = receiving(recipient)
    study = synthetic_study(12, size=128)
    done = dcmtk("storescu", network, source, source.ae_title, *network.files(study))
    assert done.returncode == 0, done.stderr
    network.wait_share(study.study_uid, "delivered")
    assert receiver.held() == sorted(study.digests.values())


def test_the_certificate_decides_and_another_institutions_ae_title_is_rejected_and_audited(
    network: Network,
) -> None:
    source, other = network.pair()
    done = dcmtk("echoscu", network, source, other.ae_title)
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stdout + done.stderr
    audited(network, other.ae_title, "IMEX")
    assert dcmtk("echoscu", network, other, other.ae_title).returncode == 0


def test_without_a_client_certificate_there_is_no_association(network: Network) -> None:
    source, _ = network.pair()
    assert dcmtk("echoscu", network, None, source.ae_title).returncode != 0
    assert dcmtk("echoscu", network, source, source.ae_title).returncode == 0


def test_a_pinned_certificate_is_the_only_one_and_retirement_ends_it(network: Network) -> None:
    source, other = network.pair()
    sender = source.entry["senders"][0]
    sender["certificate"] = sha256_of(network, other)[:-4] + "0000"
    network.apply()
    network.wait_for(
        lambda: dcmtk("echoscu", network, source, source.ae_title).returncode != 0, 10, "its own is refused"
    )
    sender["certificate"] = sha256_of(network, source)
    network.apply()
    network.wait_for(
        lambda: dcmtk("echoscu", network, source, source.ae_title).returncode == 0, 10, "the pinned one goes"
    )
    kept = network.stack.described["tls"]
    del source.entry["senders"]
    network.apply()
    assert source.code not in network.stack.described["tls"]["client_cert"]
    network.wait_for(
        lambda: dcmtk("echoscu", network, source, source.ae_title, tls=kept).returncode != 0,
        10,
        "who retired is refused",
    )


def test_a_changed_certificate_is_used_without_a_restart_or_a_dropped_association(network: Network) -> None:
    source, _ = network.pair()
    study = synthetic_study(2, size=64)
    one, two = (dcmread(path) for path in network.files(study))
    before, pid = shown_certificate(network), network.stack.pid("ingest")
    with associated(network, source) as association:
        assert association.send_c_store(one).Status == 0
        folder = network.stack.home.root / "tls"
        (folder / "server.pem").unlink()
        Certificates(folder).server()
        network.wait_for(lambda: shown_certificate(network) != before, 20, "the new certificate is shown")
        assert association.send_c_store(two).Status == 0
        assert dcmtk("echoscu", network, source, source.ae_title).returncode == 0
    assert network.stack.pid("ingest") == pid
    metrics = httpx2.get(network.stack.described["processes"]["ingest"]["metrics"], trust_env=False).text
    assert 'imex_ingest_certificate_expires_seconds{certificate="server"}' in metrics


def test_on_sigterm_ingest_takes_no_more_and_lets_associations_finish(
    network: Network, receiving: Receiving
) -> None:
    source, recipient = network.pair()
    receiver = receiving(recipient)
    study = synthetic_study(3, size=64)
    datasets = [dcmread(path) for path in network.files(study)]
    parts = network.stack.described["processes"]
    processes = {name: part for name, part in parts.items() if name.startswith("ingest")}
    with associated(network, source) as association:
        assert association.send_c_store(datasets[0]).Status == 0
        for process in processes.values():
            os.kill(process["pid"], signal.SIGTERM)
        for process in processes.values():
            network.wait_for(partial(unready, process["health"]), 5, "it says that it is not ready")
        for dataset in datasets[1:]:
            assert association.send_c_store(dataset).Status == 0
        assert dcmtk("echoscu", network, source, source.ae_title).returncode != 0
    for name, process in processes.items():
        network.stack.wait_back(name, process["pid"])
    network.wait_share(study.study_uid, "delivered")
    assert receiver.held() == sorted(study.digests.values())


def unready(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5, trust_env=False).status_code != 200
    except httpx2.HTTPError:
        return True


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with four processes of ingest and four of delivery."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMEX_INGEST_PROCESSES", str(SEVERAL))
        patch.setenv("IMEX_DELIVERY_PROCESSES", str(SEVERAL))
        if home := os.environ.get("IMEX_TEST_HOME_SEVERAL"):
            yield LocalStack(Path(home))
            return
        with running_stack(tmp_path_factory.mktemp("several") / "home") as running:
            yield running


def associations(stack: LocalStack, name: str) -> float:
    """How many associations a process has had."""
    shown = httpx2.get(stack.described["processes"][name]["metrics"], trust_env=False).text
    return sum(
        float(line.split()[-1])
        for line in shown.splitlines()
        if line.startswith('imex_ingest_associations_total{outcome="released"}')
    )


def test_four_ingest_and_four_delivery_processes_share_the_work(several: LocalStack, tmp_path: Path) -> None:
    network = Network(several, tmp_path)
    ingest, delivery = (
        [service, *(f"{service}-{number}" for number in range(2, SEVERAL + 1))]
        for service in ("ingest", "delivery")
    )
    assert {*ingest, *delivery} <= several.described["processes"].keys()
    assert all(several.home.log(name).exists() for name in (*ingest, *delivery))
    source, recipient = network.pair(quiet_s=3)
    for _ in range(200):
        assert dcmtk("echoscu", network, source, source.ae_title).returncode == 0
        if all(associations(several, name) for name in ingest):
            break
    assert all(associations(several, name) for name in ingest), "the kernel spreads connections over all"

    receiver = network.receiver(recipient)
    receiver.start()
    try:
        study = synthetic_study(80, size=64)
        files = network.files(study)
        gone = several.described["processes"]["ingest-2"]["pid"]

        def send(first: int) -> None:
            while dcmtk("storescu", network, source, source.ae_title, *files[first : first + 5]).returncode:
                pass  # one of the processes stops meanwhile: its senders repeat

        with ThreadPoolExecutor(4) as pool:
            sending = [pool.submit(send, first) for first in range(0, len(files), 5)]
            os.kill(gone, signal.SIGTERM)
            for each in sending:
                each.result(timeout=120)
        several.wait_back("ingest-2", gone, within_s=30)
        share = network.wait_share(study.study_uid, "delivered")
        assert len(network.shares(study.study_uid)) == 1
        assert share["instances"]["delivered"] == len(files)
        assert receiver.held() == sorted(study.digests.values()), "each once"
    finally:
        receiver.stop()
