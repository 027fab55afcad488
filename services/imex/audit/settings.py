"""Settings of the audit service."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from imex.settings import (
    DatabaseSettings,
    HttpSettings,
    InstanceSettings,
    KafkaSettings,
    LogSettings,
    TracesSettings,
)


class TrailSettings(BaseSettings):
    """How the trail is kept."""

    model_config = SettingsConfigDict(env_prefix="IMEX_AUDIT_", frozen=True, extra="ignore")

    checkpoint_s: float = Field(default=30.0, gt=0, description="seconds between checkpoints")


class Settings(BaseModel):
    """Everything audit is told from outside; each group reads its own variables."""

    model_config = ConfigDict(frozen=True)

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    trail: TrailSettings = Field(default_factory=TrailSettings)
    traces: TracesSettings = Field(default_factory=TracesSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    instance: InstanceSettings = Field(default_factory=InstanceSettings)
    log: LogSettings = Field(default_factory=LogSettings)
