"""The TLS port's certificates over time, its settings, and what a rejection leaves in the audit trail."""

import hashlib
import shutil
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError
from structlog.testing import capture_logs

from imex.dimse import Accept, Ended, Reject
from imex.dimse.tls import TlsFilesInvalid
from imex.directory.certificates import CertificateFacts
from imex.ingest.certificates import Certificates, Files, SenderCertificates
from imex.ingest.meters import CertificateMeters
from imex.ingest.settings import DicomSettings
from imex.local.certificates import Certificates as Authority
from imex.observability.metrics import Metrics
from imex.testing.runtime import until


class Watched:
    """Ingest's three files in a folder, and the clock that they are judged by."""

    def __init__(self, folder: Path, days: float = 397) -> None:
        self.folder = folder
        self.files = Files(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
        self.put("first", days)
        self.metrics = Metrics("ingest")
        self.now = datetime.now(UTC)
        self.certificates = Certificates(
            self.files, CertificateMeters(self.metrics), 0.01, now=lambda: self.now
        )

    def put(self, name: str, days: float = 397, *, key: bool = True) -> Authority:
        """Put another authority's files there."""
        authority = Authority(self.folder / name)
        pair = authority.server(days)
        shutil.copy(pair.certificate, self.files.certificate)
        if key:
            shutil.copy(pair.key, self.files.key)
        shutil.copy(authority.ca, self.files.ca)
        return authority

    def seconds(self, which: str) -> float:
        shown = self.metrics.render().decode()
        (line,) = (
            line
            for line in shown.splitlines()
            if line.startswith(f'imex_ingest_certificate_expires_seconds{{certificate="{which}"}}')
        )
        return float(line.split()[-1])


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_files_that_stay_as_they_are_keep_their_context(watched: Watched) -> None:
    before = watched.certificates.context()
    watched.certificates.look()
    assert watched.certificates.context() is before
    assert before.verify_mode is ssl.CERT_REQUIRED


def test_changed_files_are_for_new_handshakes(watched: Watched) -> None:
    before = watched.certificates.context()
    watched.put("second")
    with capture_logs() as logs:
        watched.certificates.look()
    assert watched.certificates.context() is not before
    assert [line["event"] for line in logs] == ["certificates changed, new handshakes use them"]


def test_files_that_do_not_fit_together_yet_leave_the_former_ones_in_use(watched: Watched) -> None:
    before = watched.certificates.context()
    watched.put("second", key=False)
    with capture_logs() as logs:
        watched.certificates.look()
    assert watched.certificates.context() is before
    assert watched.certificates.health().ready
    assert "not in use" in watched.certificates.health().detail
    assert logs[0]["log_level"] == "error"

    watched.put("second")
    watched.certificates.look()
    assert watched.certificates.context() is not before
    assert watched.certificates.health().detail == ""


def test_a_file_that_is_away_for_a_moment_leaves_the_former_ones_in_use(watched: Watched) -> None:
    before = watched.certificates.context()
    watched.files.ca.unlink()
    watched.certificates.look()
    assert watched.certificates.context() is before
    assert watched.certificates.health().ready


async def test_the_files_are_watched_while_it_runs(watched: Watched) -> None:
    before = watched.certificates.context()
    await watched.certificates.start()
    watched.put("second")
    await until(lambda: watched.certificates.context() is not before)
    await watched.certificates.stop()


@pytest.mark.parametrize(("days", "level"), [(32, None), (29, "warning"), (-1, "error")])
def test_from_30_days_before_its_end_a_certificate_is_warned_about_once_a_day(
    tmp_path: Path, days: float, level: str | None
) -> None:
    watched = Watched(tmp_path, days)
    with capture_logs() as logs:
        watched.certificates.look()
        watched.certificates.look()
        watched.now += timedelta(hours=25)
        watched.certificates.look()
    assert [(line["log_level"], line["certificate"]) for line in logs] == (
        [(level, "server")] * 2 if level else []
    )
    assert watched.seconds("server") == pytest.approx((days * 24 - 25) * 3600, abs=60)
    assert watched.seconds("ca") > 3600 * 24 * 3000


def test_files_that_cannot_be_used_at_the_start_are_an_error(tmp_path: Path) -> None:
    files = Files(tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "ca.crt")
    with pytest.raises(TlsFilesInvalid, match=r"ca\.crt"):
        Certificates(files, CertificateMeters(Metrics("ingest")), 5.0, lambda: datetime.now(UTC))


TLS = {"tls_port": 2762, "tls_certificate": "/tls.crt", "tls_key": "/tls.key", "tls_ca": "/ca.crt"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "IMEX_DICOM_TLS_PORT, or IMEX_DICOM_PORT"),
        ({"tls_port": 2762}, "IMEX_DICOM_TLS_CERTIFICATE, IMEX_DICOM_TLS_KEY, IMEX_DICOM_TLS_CA"),
        ({**TLS, "tls_ca": None}, "IMEX_DICOM_TLS_PORT needs IMEX_DICOM_TLS_CA"),
        ({"port": 104, "proxy_networks": "10.0.0.1/8"}, "proxy_networks"),
    ],
)
def test_settings_that_make_no_port_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DicomSettings.model_validate(settings)


def test_the_plain_port_is_off_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TLS.items():
        monkeypatch.setenv(f"IMEX_DICOM_{name.upper()}", str(value))
    monkeypatch.setenv("IMEX_DICOM_PORT", "")
    monkeypatch.setenv("IMEX_DICOM_PROXY_NETWORKS", "10.0.0.0/8, 2001:db8::/32,")
    settings = DicomSettings()
    assert settings.port is None
    assert settings.tls_port == 2762
    assert [str(network) for network in settings.proxy_networks] == ["10.0.0.0/8", "2001:db8::/32"]


def test_a_senders_certificate_near_its_end_is_warned_about_once_a_day() -> None:
    metrics = Metrics("ingest")
    now = datetime(2026, 5, 1, tzinfo=UTC)
    senders = SenderCertificates(CertificateMeters(metrics), now=lambda: now)
    with capture_logs() as logs:
        senders.shown("RT3", CertificateFacts("ab", ends=now + timedelta(days=31)))
        for _ in range(3):
            senders.shown("RQM", CertificateFacts("cd", ends=now + timedelta(days=29)))
        senders.shown("RX1", CertificateFacts("ef"))
    assert [(line["institution"], line["days_left"]) for line in logs] == [("RQM", 29)]
    shown = metrics.render().decode()
    assert 'imex_ingest_sender_certificate_expires_seconds{institution="RQM"} 2.5056e+06' in shown


async def test_who_is_let_in_with_a_certificate_has_it_looked_at(world: Any, tmp_path: Path) -> None:
    seen: list[tuple[str, datetime | None]] = []
    world.around = replace(world.around, certificate_shown=lambda who, facts: seen.append((who, facts.ends)))
    certificate = x509.load_pem_x509_certificate(Authority(tmp_path).client("RQM").certificate.read_bytes())
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert isinstance(await world.connect(certificate=der), Accept)
    assert isinstance(await world.connect("RT3_PACS", peer_host="10.0.0.9", certificate=der), Reject)
    assert seen == [("RQM", certificate.not_valid_after_utc)]


async def test_what_was_received_is_audited_with_the_certificate(
    world: Any, dataset: Callable[..., bytes], tmp_path: Path
) -> None:
    der = ssl.PEM_cert_to_DER_cert(Authority(tmp_path).client("RQM").certificate.read_text())
    accept = await world.connect(certificate=der)
    assert isinstance(accept, Accept)
    assert (await world.send(accept.handler, dataset())).status == 0
    await accept.handler.ended(Ended("released", "released", 1))
    (recorded,) = world.audits
    assert recorded.action == "instances_received"
    assert recorded.details["certificate"] == f"sha256:{hashlib.sha256(der).hexdigest()}"


async def test_another_institutions_ae_title_is_rejected_and_audited(world: Any, tmp_path: Path) -> None:
    pair = Authority(tmp_path).client("RQM")
    der = ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
    answer = await world.connect("RT3_PACS", peer_host="10.0.0.9", certificate=der)
    assert isinstance(answer, Reject)
    assert (answer.source, answer.reason) == (1, 3)
    (recorded,) = world.audits
    assert recorded.action == "association_rejected"
    assert recorded.reason == "calling AE title 'RT3_PACS' may not be used with the certificate of RQM"
    assert recorded.details["calling_ae"] == "RT3_PACS"
    assert recorded.details["certificate"].startswith("sha256:")
    assert "urn:imex:institution:RQM" in recorded.details["certificate_names"]


async def test_bytes_that_are_no_certificate_let_nobody_in(world: Any) -> None:
    answer = await world.connect(certificate=b"nonsense")
    assert isinstance(answer, Reject)
    assert (answer.source, answer.reason) == (1, 3)
