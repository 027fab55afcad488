"""Settings of the validation service."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from imex.settings import (
    DatabaseSettings,
    HttpSettings,
    InstanceSettings,
    KafkaSettings,
    LogSettings,
    S3Settings,
    SealingSettings,
    TracesSettings,
)


class ValidationSettings(BaseSettings):
    """What validation is told of the stack it judges for."""

    model_config = SettingsConfigDict(env_prefix="IMEX_VALIDATION_", frozen=True)

    test_numbers: Literal["warn", "ok"] = Field(
        default="warn",
        description="whether NHS numbers of the test range (999) are worth a warning: they are never issued",
    )
    orphan_days: float = Field(
        default=16.0,
        ge=15.0,
        description="days after which an object that no event told of is deleted; Kafka and dead letters keep"
        " events for 14",
    )
    orphans_every_s: float = Field(
        default=3600.0, gt=0.0, description="seconds between looks for such objects"
    )
    quarantine_days: float = Field(
        default=90.0,
        ge=1.0,
        description="days after which what waits in quarantine, and nobody has decided about, is discarded",
    )
    delete_every_s: float = Field(
        default=5.0, gt=0.0, description="seconds between looks for payloads that are to be deleted"
    )


class Settings(BaseModel):
    """Everything validation is told from outside; each group reads its own variables."""

    model_config = ConfigDict(frozen=True)

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    sealing: SealingSettings = Field(default_factory=SealingSettings)
    traces: TracesSettings = Field(default_factory=TracesSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    instance: InstanceSettings = Field(default_factory=InstanceSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    validation: ValidationSettings = Field(default_factory=ValidationSettings)
    log: LogSettings = Field(default_factory=LogSettings)
