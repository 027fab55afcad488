"""Settings of storage commitments for senders."""

from dataclasses import dataclass
from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one institution may ask for, and for how long it is looked after."""

    instances: int
    """In one question."""
    open_questions: int
    """That have not been answered."""
    deadline: timedelta
    """After which everything is answered."""
    report: timedelta
    """After which telling the answer is given up."""
    kept: timedelta
    """After which what was answered is forgotten."""


class CommitmentSettings(BaseSettings):
    """What senders may ask for, and how long it is looked after. Who may ask is the directory's to say."""

    model_config = SettingsConfigDict(
        env_prefix="IMEX_COMMITMENT_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    deadline_s: float = Field(
        default=86_400.0,
        gt=0,
        le=30 * 86_400,
        description="what is not committed by then is no",
    )
    report_s: float = Field(
        default=7 * 86_400.0, gt=0, le=90 * 86_400, description="for so long an answer is tried to be told"
    )
    instances: int = Field(default=5000, ge=1, le=100_000, description="in one question")
    open_questions: int = Field(
        default=200, ge=1, le=100_000, description="of one institution that are not answered yet"
    )
    kept_days: int = Field(
        default=90, ge=1, le=3650, description="questions that were answered can be looked up"
    )
    same_association_s: float = Field(
        default=5.0, ge=0, le=600, description="for so long an answer may come on the question's association"
    )

    @property
    def bounds(self) -> Bounds:
        """For one institution."""
        return Bounds(
            instances=self.instances,
            open_questions=self.open_questions,
            deadline=timedelta(seconds=self.deadline_s),
            report=timedelta(seconds=self.report_s),
            kept=timedelta(days=self.kept_days),
        )
