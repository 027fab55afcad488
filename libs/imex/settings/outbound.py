"""Where connections to hosts that the directory names may go."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from imex.outbound import ALWAYS_DENIED, Outbound
from imex.settings.dicom import Networks


class OutboundSettings(BaseSettings):
    """The same for all that connect to others' systems."""

    model_config = SettingsConfigDict(env_prefix="IMEX_OUTBOUND_", frozen=True, extra="ignore")

    denied_networks: Networks = Field(
        default=ALWAYS_DENIED,
        description="networks to which nothing is connected, whatever the directory says; commas between",
    )

    def outbound(self) -> Outbound:
        """What may be connected to."""
        return Outbound(self.denied_networks)
