"""Settings of the ingest service."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from imex.settings import (
    HttpSettings,
    KafkaSettings,
    LogSettings,
    S3Settings,
    SealingSettings,
    TracesSettings,
)

MIB = 1024 * 1024


class DicomSettings(BaseSettings):
    """The port that senders connect to."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_DICOM_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    host: str = "0.0.0.0"
    port: int = Field(default=11112, ge=0, le=65535, description="0 picks a free one")
    ae_title: str = Field(default="IMEX", min_length=1, max_length=16)
    max_associations: int = Field(default=200, ge=1, le=10_000)


class IngestSettings(BaseSettings):
    """Bounds of this process."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_INGEST_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    memory_bytes: int = Field(
        default=256 * MIB, ge=32 * MIB, description="that data sets on their way may take together"
    )
    drain_s: float = Field(default=20.0, ge=0, description="for associations to end by themselves")


class Settings(BaseModel):
    """Everything ingest is told from outside; each group reads its own variables."""

    model_config = ConfigDict(frozen=True)

    dicom: DicomSettings = Field(default_factory=DicomSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    sealing: SealingSettings = Field(default_factory=SealingSettings)
    traces: TracesSettings = Field(default_factory=TracesSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)
