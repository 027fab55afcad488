"""How store transactions reach ingest's listener."""

from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from imex.dicomweb.statement import LEAST_SECRET_CHARS


class StowDoorSettings(BaseSettings):
    """For the services that hand store transactions on to ingest."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_STOW_", frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    url: str = Field(default="", description="ingest's, without a path; empty: nothing is handed on")
    secret: SecretStr = Field(default=SecretStr(""), description="shared with ingest")

    @model_validator(mode="after")
    def _secret_is_long(self) -> Self:
        if self.url and len(self.secret.get_secret_value()) < LEAST_SECRET_CHARS:
            raise ValueError(f"IMEX_STOW_URL needs IMEX_STOW_SECRET of {LEAST_SECRET_CHARS} characters")
        return self
