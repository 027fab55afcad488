"""Settings of the routing service."""

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


class RoutingSettings(BaseSettings):
    """When a study counts as complete."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_ROUTING_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    quiet_s: float = Field(
        default=60.0, ge=0, description="seconds without a new instance, where no rule states its own"
    )
    association_grace_s: float = Field(
        default=90.0, ge=0, description="seconds to wait for the end of an association that is never heard of"
    )
    objective_emergency_s: int = Field(
        default=300, ge=0, description="seconds in which an emergency should be delivered; 0: no objective"
    )
    objective_urgent_s: int = Field(
        default=3600, ge=0, description="the same of what is urgent, where its rule does not say"
    )
    objective_routine_s: int = Field(
        default=86_400, ge=0, description="the same of what is routine, where its rule does not say"
    )
    decisions_kept_days: int = Field(
        default=90, ge=1, description="days that recorded decisions are kept, for `imex rules replay`"
    )
    retain_days: float = Field(
        default=30.0,
        ge=0,
        description="days that payloads stay after a share has ended, where its agreement does not say",
    )
    retention_every_s: float = Field(
        default=300.0, gt=0, description="seconds between looks for payloads that nobody needs any more"
    )
    outstanding_days: float = Field(
        default=3.0, ge=0, description="days after which a notice tells of a recall that nobody acknowledged"
    )
    corrections_every_s: float = Field(
        default=1.0, gt=0, description="seconds between looks for rejection notes to send"
    )
    open_requests: int = Field(
        default=200, ge=1, description="requests of one institution to one holder that may be open at a time"
    )
    requests_a_day: int = Field(
        default=500, ge=1, description="requests of one institution to one holder in a day, open or not"
    )
    close_every_s: float = Field(default=0.25, gt=0, description="seconds between looks at due studies")


class Settings(BaseModel):
    """Everything routing is told from outside; each group reads its own variables."""

    model_config = ConfigDict(frozen=True)

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    sealing: SealingSettings = Field(default_factory=SealingSettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    traces: TracesSettings = Field(default_factory=TracesSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    instance: InstanceSettings = Field(default_factory=InstanceSettings)
    log: LogSettings = Field(default_factory=LogSettings)
