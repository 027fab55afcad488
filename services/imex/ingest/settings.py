"""Settings of the ingest service."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from imex.dicomweb.statement import LEAST_SECRET_CHARS
from imex.settings import (
    DicomPortSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    S3Settings,
    SealingSettings,
    TcpPort,
    TracesSettings,
)

MIB = 1024 * 1024


class DicomSettings(DicomPortSettings):
    """The ports that senders connect to: with TLS (2762 by custom), and without where that is wanted."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_DICOM_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    tls_check_s: float = Field(
        default=5.0, gt=0, le=3600, description="between looks at the certificates' files"
    )
    shared_port: bool = Field(default=False, description="several processes listen on the ports")

    @model_validator(mode="after")
    def _has_a_port(self) -> Self:
        if self.port is None and self.tls_port is None:
            raise ValueError("name a port to listen on: IMEX_DICOM_TLS_PORT, or IMEX_DICOM_PORT without TLS")
        return self


class IngestSettings(BaseSettings):
    """Bounds of this process."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_INGEST_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    memory_bytes: int = Field(
        default=128 * MIB,
        ge=32 * MIB,
        description="that connections receive into and data sets on their way may take together",
    )
    emergency_memory: float = Field(
        default=0.125, ge=0.0, le=0.5, description="of that and of limits of bytes under way: for emergencies"
    )
    drain_s: float = Field(default=20.0, ge=0, description="for associations to end by themselves")


class StowSettings(BaseSettings):
    """The port on which the portal hands store transactions (STOW-RS) on."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_STOW_", frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    host: str = "127.0.0.1"
    port: TcpPort | None = Field(default=None, description="not set: no STOW-RS. 0 picks a free one")
    secret: SecretStr = Field(default=SecretStr(""), description="shared with the portal")
    requests: int = Field(default=64, ge=1, le=1000, description="at a time, in this process")

    @model_validator(mode="after")
    def _secret_is_long(self) -> Self:
        if self.port is not None and len(self.secret.get_secret_value()) < LEAST_SECRET_CHARS:
            raise ValueError(
                f"IMEX_STOW_PORT needs IMEX_STOW_SECRET of {LEAST_SECRET_CHARS} characters or more"
            )
        return self


class Hl7Settings(BaseSettings):
    """The ports for reports by HL7 (ORU^R01 through MLLP): with TLS, and without where that is wanted."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_HL7_", frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    host: str = "0.0.0.0"
    tls_port: TcpPort | None = Field(
        default=None, description="with the files of IMEX_DICOM_TLS_*; not set: no TLS. 0 picks a free one"
    )
    port: TcpPort | None = Field(default=None, description="without TLS; not set: off. 0 picks a free one")
    message_bytes: int = Field(default=16 * MIB, ge=1024, le=256 * MIB, description="of one message")
    memory_bytes: int = Field(
        default=32 * MIB, ge=1024, description="that messages under way may take together, as they are"
    )
    connections: int = Field(default=32, ge=1, le=1000, description="at a time, in this process")
    idle_s: float = Field(default=600.0, gt=0, le=86_400, description="between two messages")
    message_s: float = Field(
        default=60.0, gt=0, le=3600, description="from a message's first byte to the last"
    )

    @model_validator(mode="after")
    def _room_for_one(self) -> Self:
        if self.memory_bytes < self.message_bytes:
            raise ValueError("IMEX_HL7_MEMORY_BYTES is less than IMEX_HL7_MESSAGE_BYTES")
        return self


class LimitSettings(BaseSettings):
    """Limits that all ingest processes keep together; 0 stands for none."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_LIMITS_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    associations: int = Field(default=1000, ge=0, description="at a time, of all institutions")
    institution_associations: int = Field(default=250, ge=0, description="of one, unless the directory says")
    in_flight_bytes: int = Field(default=0, ge=0, description="received and not yet safe, of all")
    institution_in_flight_bytes: int = Field(default=0, ge=0, description="of one institution")
    mbps: float = Field(default=0.0, ge=0, description="megabits a second, of all institutions")
    institution_mbps: float = Field(default=0.0, ge=0, description="of one institution")
    processes: int = Field(default=1, ge=1, description="ingest processes assumed before any was heard of")


class StorageSettings(BaseSettings):
    """How full the object store may get, and how that is learnt."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_STORAGE_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    watermark: float = Field(default=0.85, gt=0, le=1, description="of 1: from here on only emergencies")
    measure: Literal["minio", "disk", "listing", "off"] = "minio"
    path: str = Field(default="", description="disk: a path on the file system that the store's data is on")
    capacity_bytes: int = Field(default=0, ge=0, description="listing: what the bucket may take")
    poll_s: float = Field(default=10.0, gt=0, le=3600, description="between looks")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.measure == "disk" and not self.path:
            raise ValueError("IMEX_STORAGE_MEASURE=disk needs IMEX_STORAGE_PATH")
        if self.measure == "listing" and not self.capacity_bytes:
            raise ValueError("IMEX_STORAGE_MEASURE=listing needs IMEX_STORAGE_CAPACITY_BYTES")
        return self


class Settings(BaseModel):
    """Everything ingest is told from outside; each group reads its own variables."""

    model_config = ConfigDict(frozen=True)

    dicom: DicomSettings = Field(default_factory=DicomSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    stow: StowSettings = Field(default_factory=StowSettings)
    hl7: Hl7Settings = Field(default_factory=Hl7Settings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    sealing: SealingSettings = Field(default_factory=SealingSettings)
    traces: TracesSettings = Field(default_factory=TracesSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @model_validator(mode="after")
    def _hl7_has_files(self) -> Self:
        files = (self.dicom.tls_certificate, self.dicom.tls_key, self.dicom.tls_ca)
        if self.hl7.tls_port is not None and None in files:
            raise ValueError("IMEX_HL7_TLS_PORT needs IMEX_DICOM_TLS_CERTIFICATE, _KEY and _CA")
        return self
