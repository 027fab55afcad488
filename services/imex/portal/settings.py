"""The portal's settings."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from imex.portal.commitment.settings import CommitmentSettings
from imex.portal.query_retrieve.settings import DicomSettings
from imex.settings import (
    DatabaseSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    OutboundSettings,
    S3Settings,
    SealingSettings,
    TracesSettings,
)
from imex.settings.stow import StowDoorSettings


class PortalSettings(BaseSettings):
    """What only the portal needs."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_PORTAL_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    secret: SecretStr = Field(min_length=32, description="signs what forms carry; 32 characters or more")
    local: bool = Field(default=False, description="a local stack: plain HTTP, so cookies are not Secure")
    traces_url: str = Field(default="", description="where people can look at traces: Zipkin's base URL")
    services: dict[str, str] = Field(
        default={}, description="JSON: a service's name to the URL of its /ready, for the health page"
    )
    session_hours: int = Field(default=12, ge=1, le=24 * 7)


class Settings(BaseModel):
    """Everything the portal is told from outside; each group reads its own variables."""

    model_config = ConfigDict(frozen=True)

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    sealing: SealingSettings = Field(default_factory=SealingSettings)
    traces: TracesSettings = Field(default_factory=TracesSettings)
    outbound: OutboundSettings = Field(default_factory=OutboundSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    portal: PortalSettings = Field(default_factory=PortalSettings)
    stow: StowDoorSettings = Field(default_factory=StowDoorSettings)
    commitment: CommitmentSettings = Field(default_factory=CommitmentSettings)
    dicom: DicomSettings = Field(default_factory=DicomSettings)
