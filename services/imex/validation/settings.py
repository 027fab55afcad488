"""Settings of the validation service."""

from pydantic import BaseModel, ConfigDict, Field

from imex.settings import (
    DatabaseSettings,
    HttpSettings,
    InstanceSettings,
    KafkaSettings,
    LogSettings,
    SealingSettings,
    TracesSettings,
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
    log: LogSettings = Field(default_factory=LogSettings)
