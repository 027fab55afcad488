"""Settings of the delivery service."""

import socket
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from imex.settings import (
    DatabaseSettings,
    HttpSettings,
    InstanceSettings,
    KafkaSettings,
    LogSettings,
    OutboundSettings,
    S3Settings,
    SealingSettings,
    TracesSettings,
    decoded_key,
)
from imex.settings.stow import StowDoorSettings


def _signing_key(value: SecretStr) -> SecretStr:
    decoded_key("IMEX_DELIVERY_SIGNING_KEY", value)
    return value


class DeliverySettings(BaseSettings):
    """What is delivery's own. Bytes and seconds."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_DELIVERY_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    signing_key: Annotated[SecretStr, AfterValidator(_signing_key)] = Field(
        description="base64 of the 32-byte Ed25519 seed that signs receipts"
    )
    ae_title: str = Field(default="IMEX", min_length=1, max_length=16, description="calling AE title")
    concurrency: int = Field(default=16, ge=2, le=200, description="deliveries that run at a time")
    emergency_reserve: int = Field(default=4, ge=0, description="of these, only for emergencies")
    urgent_reserve: int = Field(
        default=2, ge=0, description="of these, further ones only for emergencies and what is urgent"
    )
    routine_reserve: int = Field(
        default=2, ge=0, description="of these, only for what is routine, however many emergencies there are"
    )
    per_destination: int = Field(default=6, ge=1, description="of these, at most for one destination")
    destination_reserve: int = Field(
        default=1,
        ge=0,
        description="associations that a destination with more than two keeps for what is more than routine",
    )
    default_associations: int = Field(
        default=2, ge=1, le=64, description="where the endpoint does not say max_associations"
    )
    associations_per_delivery: int = Field(
        default=2, ge=1, le=8, description="for one delivery, where the destination has more than one free"
    )
    refusals_s: float = Field(
        default=3600.0, ge=0.0, description="a refused SOP class or transfer syntax is asked for again after"
    )
    rejections_s: float = Field(
        default=20.0, ge=0.0, le=30.0, description="a rejected association is asked for again after"
    )
    idle_s: float = Field(
        default=5.0, ge=0.0, le=60.0, description="an association is kept open for the next delivery"
    )
    idle_associations: int = Field(default=16, ge=0, le=200, description="of these, at most")
    tls_ca: Path | None = Field(default=None, description="who vouches for nodes that are sent to over TLS")
    tls_certificate: Path | None = Field(default=None, description="shown to nodes that ask for one")
    tls_key: Path | None = Field(default=None, description="the certificate's key")
    tls_check_host: bool = Field(default=True, description="a node's certificate has to name its host")
    secrets: dict[str, SecretStr] = Field(
        default={},
        description="client secrets for DICOMweb servers by the name that the directory uses: JSON",
    )
    secrets_dir: Path | None = Field(
        default=None, description="a folder with such secrets, each in a file of its name"
    )
    request_s: float = Field(
        default=120.0, ge=1.0, le=3600.0, description="for the answer of a DICOMweb server to a request"
    )
    confirm_patience_s: float = Field(
        default=120.0,
        ge=0.0,
        le=86_400.0,
        description="what was taken and does not show in a query is sent again after",
    )
    commitment_host: str = Field(default="0.0.0.0", description="where storage commitments are reported")
    commitment_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="its port without TLS; without any, reports have to come on the question's association",
    )
    commitment_tls_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="its port with TLS, which shows tls_certificate and asks for one that tls_ca vouches for",
    )
    commitment_s: float = Field(
        default=600.0, ge=1.0, le=86_400.0, description="a storage commitment is waited for"
    )
    commitment_same_s: float = Field(
        default=5.0, ge=0.0, le=60.0, description="of these, on the association on which it was asked for"
    )
    move_destination: str = Field(
        default="",
        max_length=16,
        description="AE title by which archives know ingest, for C-MOVE; IMEX_DELIVERY_AE_TITLE where empty",
    )
    retrievals_at_a_time: int = Field(
        default=4,
        ge=1,
        le=16,
        description="requests whose studies are fetched at a time, at most half of them from one holder",
    )
    retrieval_silent_s: float = Field(
        default=600.0, ge=5.0, le=3600.0, description="an archive that sends says nothing, at most"
    )
    lease_s: float = Field(default=12.0, ge=1.0, le=15.0, description="a lease not renewed so long is over")
    poll_s: float = Field(default=0.25, gt=0.0, le=5.0, description="looking for due deliveries")
    read_ahead_instances: int = Field(default=3, ge=1, le=64, description="of each association")
    read_ahead_bytes: int = Field(default=32 << 20, ge=1 << 16, description="of all associations")
    whole_bytes: int = Field(
        default=4 << 20, ge=1 << 16, description="larger instances are streamed, not held in memory"
    )
    header_bytes: int = Field(
        default=64 << 20,
        ge=1 << 20,
        description="of an instance that is changed on the way, before its pixel data: larger ones fail",
    )
    changed_at_a_time: int = Field(
        default=2, ge=1, le=64, description="instances that are changed at a time: bounds memory"
    )

    transcodes_at_a_time: int = Field(
        default=1, ge=1, le=8, description="processes that decode and encode pixel data"
    )
    transcode_memory: int = Field(default=2 << 30, ge=512 << 20, description="each of them may use")
    transcode_pixels: int = Field(
        default=128 << 20, ge=1 << 20, description="of an instance, uncompressed: larger ones are refused"
    )
    transcode_s: float = Field(
        default=60.0, gt=0.0, le=600.0, description="for an instance; then its process is killed"
    )

    def model_post_init(self, _context: object) -> None:
        """Check what only makes sense together."""
        if self.emergency_reserve + self.urgent_reserve + max(1, self.routine_reserve) > self.concurrency:
            raise ValueError(
                "IMEX_DELIVERY_EMERGENCY_RESERVE, IMEX_DELIVERY_URGENT_RESERVE and"
                " IMEX_DELIVERY_ROUTINE_RESERVE together must not be more than IMEX_DELIVERY_CONCURRENCY, and"
                " must leave routine deliveries a place"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("IMEX_DELIVERY_TLS_CERTIFICATE and IMEX_DELIVERY_TLS_KEY go together")
        if self.tls_certificate is not None and self.tls_ca is None:
            raise ValueError("IMEX_DELIVERY_TLS_CERTIFICATE needs IMEX_DELIVERY_TLS_CA")
        if self.commitment_tls_port is not None and self.tls_certificate is None:
            raise ValueError("IMEX_DELIVERY_COMMITMENT_TLS_PORT needs IMEX_DELIVERY_TLS_CERTIFICATE")

    @property
    def hears_commitments(self) -> bool:
        """Whether destinations can report on associations of their own."""
        return self.commitment_port is not None or self.commitment_tls_port is not None


class Settings(BaseModel):
    """Everything delivery is told from outside; each group reads its own variables."""

    model_config = ConfigDict(frozen=True)

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    sealing: SealingSettings = Field(default_factory=SealingSettings)
    traces: TracesSettings = Field(default_factory=TracesSettings)
    outbound: OutboundSettings = Field(default_factory=OutboundSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    instance: InstanceSettings = Field(default_factory=InstanceSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    stow: StowDoorSettings = Field(default_factory=StowDoorSettings)

    @property
    def lease_holder(self) -> str:
        """The name under which this process leases deliveries: the same after a restart."""
        return self.instance.instance or f"{socket.gethostname()}:{self.http.port}"
