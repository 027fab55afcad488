"""Settings of the ports for DICOM queries and retrievals."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from imex.settings import DicomPortSettings


class DicomSettings(DicomPortSettings):
    """The ports that recipients' nodes connect to; without a port there is no listener."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_PORTAL_DICOM_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    max_associations: int = Field(default=100, ge=1, le=10_000)
    institution_associations: int = Field(default=20, ge=1, le=10_000, description="at a time, of one")

    @property
    def listens(self) -> bool:
        """Whether there is a port."""
        return self.port is not None or self.tls_port is not None
