"""Settings of ports for DICOM."""

import ipaddress
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode


def _networks(value: object) -> object:
    return [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
TcpPort = Annotated[int, Field(ge=0, le=65535)]


class DicomPortSettings(BaseSettings):
    """The ports that DICOM peers connect to: with TLS, and without where that is wanted.

    What is derived from it names the prefix of the variables.
    """

    host: str = "0.0.0.0"
    tls_port: TcpPort | None = Field(default=None, description="not set: no TLS")
    tls_certificate: Path | None = Field(default=None, description="PEM, with its chain")
    tls_key: Path | None = Field(default=None, description="PEM, without a password")
    tls_ca: Path | None = Field(default=None, description="PEM: who may vouch for peers")
    port: TcpPort | None = Field(default=None, description="without TLS; not set: off. 0 picks a free one")
    ae_title: str = Field(default="IMEX", min_length=1, max_length=16)
    max_associations: int = Field(default=200, ge=1, le=10_000)
    handshake_s: float = Field(default=10.0, gt=0, le=60, description="for a PROXY header and TLS")
    handshakes_per_address: int = Field(default=100, ge=1, le=10_000)
    proxy_networks: Networks = Field(
        default=(), description="load balancers that send PROXY protocol version 2; commas between"
    )

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Self:
        prefix = self.model_config.get("env_prefix", "")
        files = {"CERTIFICATE": self.tls_certificate, "KEY": self.tls_key, "CA": self.tls_ca}
        missing = [f"{prefix}TLS_{name}" for name, path in files.items() if path is None]
        if self.tls_port is not None and missing:
            raise ValueError(f"{prefix}TLS_PORT needs {', '.join(missing)}")
        return self
