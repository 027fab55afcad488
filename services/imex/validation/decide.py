"""What becomes of one instance, given what is known. Pure: event and facts in, decision out."""

from dataclasses import dataclass
from uuid import UUID

from imex.events import Identity
from imex.events.instances import InstanceReceivedData
from imex.events.validations import Finding
from imex.validation.checks import holding_findings, warnings
from imex.validation.identity import Demographics, demographics, disagreements


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes that are already known under a SOP Instance UID."""

    event_id: UUID
    digest: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known before an instance is judged."""

    accepted: Copy | None = None
    """The accepted bytes of this instance."""
    waiting: tuple[Copy, ...] = ()
    """Bytes of this instance that wait in quarantine."""
    study: Demographics | None = None
    person: Demographics | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """It goes on, with what people should know of it."""

    warnings: tuple[Finding, ...]
    demographics: Demographics


@dataclass(frozen=True, slots=True)
class Held:
    """It waits for a person."""

    findings: tuple[Finding, ...]
    releasable: bool

    @property
    def reason(self) -> str:
        """The findings in one sentence."""
        return "; ".join(finding.message for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Duplicated:
    """The same bytes are there already."""

    original: UUID


Decision = Accepted | Held | Duplicated

_RELEASABLE_CHECKS = frozenset({"nhs-number", "pixel-length", "study-demographics", "person-demographics"})
"""A person can vouch for these. Data that cannot be read or named, and a conflict, cannot go on as they are:
what was delivered stays what is delivered."""


def decide(data: InstanceReceivedData, identity: Identity, facts: Facts) -> Decision:
    """Accept, hold or recognise one instance.

    The same bytes again are a repeat whatever else is wrong with them; everything that is wrong is
    reported at once, so that a person need look only once.
    """
    for copy in (facts.accepted, *facts.waiting):
        if copy is not None and copy.digest == data.digest:
            return Duplicated(copy.event_id)
    mine = demographics(identity, data.source)
    findings = (*holding_findings(data, identity), *_conflict(facts), *_identity_findings(mine, facts))
    if findings:
        return Held(findings, releasable=all(finding.check in _RELEASABLE_CHECKS for finding in findings))
    return Accepted(warnings(data, identity), mine)


def _conflict(facts: Facts) -> tuple[Finding, ...]:
    if facts.accepted is None:
        return ()
    return (
        Finding(
            check="conflict",
            message="other data was received before under this SOP Instance UID from the same institution",
        ),
    )


def _identity_findings(mine: Demographics, facts: Facts) -> tuple[Finding, ...]:
    found = []
    if facts.study is not None and (fields := disagreements(mine, facts.study, identifiers=True)):
        found.append(
            Finding(
                check="study-demographics",
                message=f"{_listed(fields)} differ from the rest of the study",
            )
        )
    if facts.person is not None and (fields := disagreements(mine, facts.person, identifiers=False)):
        found.append(
            Finding(
                check="person-demographics",
                message=f"{_listed(fields)} differ from the person known under this identifier",
            )
        )
    return tuple(found)


def _listed(fields: list[str]) -> str:
    return " and ".join((", ".join(fields[:-1]), fields[-1])) if len(fields) > 1 else fields[0]
