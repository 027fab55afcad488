"""A local stack's certificates, and services that run as several processes there."""

import datetime
import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from imex.local import layout, ports, processes
from imex.local.certificates import Certificates, Pair
from imex.local.home import Home
from imex.local.process import StartFailed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for service in processes.SCALED:
        monkeypatch.delenv(f"IMEX_{service.upper()}_PROCESSES", raising=False)
    return Home(tmp_path, default=False)


def read(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def test_certificates_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    made = Certificates(tmp_path).client("RQM")
    before = made.certificate.read_bytes(), made.key.read_bytes()
    assert Certificates(tmp_path).client("RQM") == made
    assert (made.certificate.read_bytes(), made.key.read_bytes()) == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_a_certificate_that_ends_soon_is_made_anew_by_the_same_ca(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    short = read(certificates.server(days=30))
    authority = certificates.ca.read_bytes()
    long = read(certificates.server())
    assert long.not_valid_after_utc - short.not_valid_after_utc > datetime.timedelta(days=300)
    assert certificates.ca.read_bytes() == authority


def test_a_certificate_of_a_ca_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    before = read(certificates.client("RQM"))
    certificates.ca.unlink()
    after = read(certificates.client("RQM"))
    assert before.serial_number != after.serial_number
    after.verify_directly_issued_by(x509.load_pem_x509_certificate(certificates.ca.read_bytes()))


def test_a_certificate_names_its_institution_and_serves_either_end(tmp_path: Path) -> None:
    made = read(Certificates(tmp_path).client("RQM"))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:imex:institution:RQM"]
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {use.dotted_string for use in uses} == {
        ssl.Purpose.CLIENT_AUTH.oid,
        ssl.Purpose.SERVER_AUTH.oid,
    }


def test_one_process_of_each_service_unless_more_are_wanted(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert processes.extra() == []
    monkeypatch.setenv("IMEX_INGEST_PROCESSES", "3")
    monkeypatch.setenv("IMEX_DELIVERY_PROCESSES", "2")
    assert processes.wanted() == [
        "ingest", "ingest-2", "ingest-3", "validation", "routing", "delivery", "delivery-2",
        "audit", "portal",
    ]  # fmt: skip
    assert {processes.service_of(name) for name in processes.extra()} == {"ingest", "delivery"}


@pytest.mark.parametrize("stated", ["0", "17", "-1", "two", "1.5"])
def test_a_number_of_processes_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    monkeypatch.setenv("IMEX_DELIVERY_PROCESSES", stated)
    with pytest.raises(StartFailed, match="IMEX_DELIVERY_PROCESSES must be a number from 1 to 16"):
        processes.wanted()


def test_further_processes_have_ports_that_no_other_part_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "in_use", lambda _: False)
    chosen = ports.fixed(processes.possible())
    assert len(set(chosen.values())) == len(chosen)
    assert (chosen["ingest-2"], chosen["delivery-3"]) == (8102, 8123)


def test_processes_of_one_service_share_ports_and_credentials_and_nothing_else(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMEX_INGEST_PROCESSES", "2")
    home.choose_ports(processes.extra())
    one, two = (layout.service(home, name) for name in ("ingest", "ingest-2"))
    differ = {name for name, value in one.environment.items() if two.environment[name] != value}
    assert differ == {"IMEX_HTTP_PORT", "IMEX_INSTANCE"}
    assert one.environment["IMEX_DICOM_SHARED_PORT"] == "true"
    assert (one.log.name, two.log.name) == ("ingest.log", "ingest-2.log")
    assert one.argv == two.argv
    watched = json.loads(layout.service_environment(home, "portal")["IMEX_PORTAL_SERVICES"])
    assert {"ingest", "ingest-2", "delivery"} <= watched.keys()


def test_a_single_process_does_not_share_its_port(home: Home) -> None:
    home.choose_ports()
    assert layout.service_environment(home, "ingest")["IMEX_DICOM_SHARED_PORT"] == "false"


def test_ports_of_a_running_stack_stay_when_more_processes_are_wanted(home: Home) -> None:
    before = home.choose_ports()
    home.add_ports(["ingest-2"])
    after = home.ports()
    assert {name: after[name] for name in before} == before
    assert after["ingest-2"] not in before.values()
