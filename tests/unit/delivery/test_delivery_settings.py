"""Delivery's settings: what only makes sense together."""

import base64
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from imex.delivery.settings import DeliverySettings
from imex.delivery.targets.certificates import Certificates as Shown
from imex.dimse.tls import TlsFilesInvalid
from imex.local.certificates import Certificates

KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "given",
    [
        {"emergency_reserve": 16},
        {"tls_ca": "ca.pem", "tls_certificate": "c.pem"},
        {"tls_ca": "ca.pem", "tls_key": "k.pem"},
        {"tls_certificate": "c.pem", "tls_key": "k.pem"},
    ],
)
def test_what_does_not_fit_together_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="IMEX_DELIVERY_"):
        DeliverySettings(signing_key=KEY, **given)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMEX_DELIVERY_SIGNING_KEY", KEY)
    monkeypatch.setenv("IMEX_DELIVERY_TLS_CA", "")
    assert DeliverySettings().tls_ca is None


def test_certificates_are_read_anew_when_they_change(tmp_path: Path) -> None:
    issued = Certificates(tmp_path / "one")
    client = issued.client("IMX")
    shown = Shown(issued.ca, client.certificate, client.key, check_host=False)
    first = shown.context()
    assert shown.context() is first
    assert not first.check_hostname
    client.certificate.write_bytes(client.certificate.read_bytes() + b"\n")
    assert shown.context() is not first
    client.key.write_text("no key")
    with pytest.raises(TlsFilesInvalid, match="key"):
        shown.context()
