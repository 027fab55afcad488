"""Settings that several services share. Each service composes the groups it needs.

Values come from the environment; a wrong one is an error at start that names the variable.
"""

import base64
import binascii
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PostgresDsn, SecretStr, TypeAdapter
from pydantic_settings import BaseSettings, SettingsConfigDict


def _config(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(env_prefix=prefix, frozen=True, extra="ignore", hide_input_in_errors=True)


def _postgres_url(value: SecretStr) -> SecretStr:
    TypeAdapter(PostgresDsn).validate_python(value.get_secret_value())
    return value


def _bootstrap(value: str) -> str:
    for server in value.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= 65535:
            raise ValueError("must be host:port, or several of them with commas between")
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be http://host:port or https://host:port")
    return value


Port = Annotated[int, Field(ge=0, le=65535)]


class KafkaSettings(BaseSettings):
    """How to reach the broker, and as whom."""

    model_config = _config("IMEX_KAFKA_")

    bootstrap: Annotated[str, AfterValidator(_bootstrap)] = Field(description="host:port[,host:port…]")
    username: str = Field(default="", description="empty: no SASL")
    password: SecretStr = SecretStr("")
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    tls_ca: str = Field(default="", description="path of a CA file; empty: no TLS")


class S3Settings(BaseSettings):
    """The object store."""

    model_config = _config("IMEX_S3_")

    endpoint: Annotated[str, AfterValidator(_http_url)] = Field(description="http(s)://host:port")
    bucket: str = "payloads"
    directory_bucket: str = "directory"
    access_key: str = ""
    secret_key: SecretStr = SecretStr("")
    region: str = "us-east-1"


class DatabaseSettings(BaseSettings):
    """The PostgreSQL database, as this service's role."""

    model_config = _config("IMEX_DB_")

    url: Annotated[SecretStr, AfterValidator(_postgres_url)] = Field(
        description="postgresql://user:password@host:port/imex"
    )
    pool_size: int = Field(default=5, ge=1, le=100)


class TracesSettings(BaseSettings):
    """Where spans go."""

    model_config = _config("IMEX_TRACES_")

    exporter: Literal["none", "zipkin", "otlp"] = "none"
    endpoint: str = Field(default="", description="base URL of the collector")


class HttpSettings(BaseSettings):
    """The service's own port: health and metrics, and for the portal everything."""

    model_config = _config("IMEX_HTTP_")

    host: str = "127.0.0.1"
    port: Port = Field(description="0 picks a free one")


class LogSettings(BaseSettings):
    """What is logged."""

    model_config = _config("IMEX_LOG_")

    level: Literal["debug", "info", "warning", "error"] = "info"


class SealingSettings(BaseSettings):
    """Keys of the sealed field."""

    model_config = _config("IMEX_SEALING_")

    keys: dict[str, SecretStr] = Field(description="JSON: key id to base64 of 32 bytes")
    current: str = Field(description="id of the key that seals; the others only open")

    def model_post_init(self, _context: Any) -> None:
        """Check lengths at start rather than at the first instance."""
        if self.current not in self.keys:
            raise ValueError(f"IMEX_SEALING_CURRENT names {self.current!r}, which IMEX_SEALING_KEYS lacks")
        self.key_bytes()

    def key_bytes(self) -> dict[str, bytes]:
        """The keys, decoded."""
        return {name: decoded_key(f"IMEX_SEALING_KEYS[{name}]", key) for name, key in self.keys.items()}


def decoded_key(name: str, value: SecretStr) -> bytes:
    """32 bytes from base64.

    Raises:
        ValueError: it is no base64, or of another length.
    """
    try:
        raw = base64.b64decode(value.get_secret_value(), validate=True)
    except binascii.Error:
        raise ValueError(f"{name} is not base64") from None
    if len(raw) != 32:
        raise ValueError(f"{name} must be base64 of 32 bytes, not of {len(raw)}")
    return raw


class InstanceSettings(BaseSettings):
    """Which replica this process is."""

    model_config = _config("IMEX_")

    instance: str | None = Field(
        default=None,
        description="a name that is the same after a restart: it keeps its partitions then (KIP-345)",
    )
