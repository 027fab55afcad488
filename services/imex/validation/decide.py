"""What becomes of one instance, given what is known. Pure: event and facts in, decision out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from imex.directory import Severity
from imex.directory.findings import CHECKS, Releaser
from imex.events import Identity
from imex.events.instances import InstanceReceivedData
from imex.events.validations import Finding
from imex.validation.checks import findings
from imex.validation.identity import (
    Demographics,
    demographics,
    disagreements,
    nhs_number_of,
    of_test_range,
)
from imex.validation.policy import Policy

Traced = Literal["traced", "not-traced", "superseded"]


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes that are already known under a SOP Instance UID."""

    event_id: UUID
    digest: str
    study_uid: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known before an instance is judged."""

    accepted: Copy | None = None
    """The accepted bytes of this instance."""
    waiting: tuple[Copy, ...] = ()
    """Bytes of this instance that wait in quarantine."""
    study: Demographics | None = None
    persons: tuple[Demographics, ...] = ()
    """Who is known under its identifiers."""
    same_pixels: bool = False
    """Its pixel data is that of the accepted bytes, though its header is another."""
    traced: Traced | None = None
    """What is known of its NHS number."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """It goes on, with what people should know of it."""

    warnings: tuple[Finding, ...]
    demographics: Demographics
    replaces: UUID | None = None
    """The accepted bytes whose place it takes."""


@dataclass(frozen=True, slots=True)
class Held:
    """It waits for a person, or goes no further."""

    findings: tuple[Finding, ...]
    """What holds it; warnings come behind that."""
    releaser: Releaser
    refused: bool = False
    disputes: UUID | None = None
    """The accepted bytes that are not to leave either until a person decides."""
    checks: tuple[str, ...] = ()
    """The checks that hold it."""

    @property
    def releasable(self) -> bool:
        """Whether anybody may let it go on."""
        return self.releaser != "nobody" and not self.refused

    @property
    def reason(self) -> str:
        """What holds it, in one sentence."""
        return "; ".join(finding.message for finding in self.findings if finding.check in self.checks)


@dataclass(frozen=True, slots=True)
class Duplicated:
    """The same bytes are there already."""

    original: UUID


Decision = Accepted | Held | Duplicated

COMMON = Policy()


def decide(
    data: InstanceReceivedData,
    identity: Identity,
    facts: Facts,
    policy: Policy = COMMON,
    mine: Demographics | None = None,
) -> Decision:
    """Accept, hold, refuse or recognise one instance.

    The same bytes again are a repeat whatever else is wrong with them; everything that is wrong is
    reported at once, so that a person need look only once. `mine` saves normalising its demographics again.
    """
    for copy in (facts.accepted, *facts.waiting):
        if copy is not None and copy.digest == data.digest:
            return Duplicated(copy.event_id)
    mine = mine or of(data, identity, policy)
    found = (
        *findings(data, identity),
        *_other_bytes(data, mine, facts, policy),
        *_identity_findings(identity, mine, facts, policy),
    )
    return weighed(found, mine, facts, policy)


def of(data: InstanceReceivedData, identity: Identity, policy: Policy) -> Demographics:
    """An instance's demographics as they are compared."""
    temporary = policy.is_temporary(identity.patient_name, identity.patient_id)
    return demographics(identity, data.source, temporary=temporary)


def weighed(found: tuple[Finding, ...], mine: Demographics, facts: Facts, policy: Policy) -> Decision:
    """What findings come to under a policy: on it goes, or it waits for the most reluctant releaser."""
    told: list[Finding] = []
    holding: list[Finding] = []
    refused = False
    for finding in found:
        severity = policy.severity(finding.check)
        if severity is Severity.WARN:
            told.append(finding)
        else:
            holding.append(finding)
            refused = refused or severity is Severity.REFUSE
    replaced = facts.accepted.event_id if facts.accepted is not None else None
    if not holding:
        return Accepted(tuple(told), mine, replaced)
    checks = tuple(dict.fromkeys(finding.check for finding in holding))
    disputed = "conflict" in checks and not refused
    return Held(
        (*holding, *told),
        _releaser(checks),
        refused,
        disputes=replaced if disputed else None,
        checks=checks,
    )


def _releaser(checks: tuple[str, ...]) -> Releaser:
    allowed = {CHECKS[check].releaser for check in checks}
    return "nobody" if "nobody" in allowed else "admin" if "admin" in allowed else "source"


def _other_bytes(
    data: InstanceReceivedData, mine: Demographics, facts: Facts, policy: Policy
) -> Iterator[Finding]:
    if facts.accepted is None:
        return
    if facts.accepted.study_uid != data.study_uid:
        # what is released would take the accepted copy's place, which is in another study, maybe of somebody
        # else; so there is nothing to decide between them, and the accepted one goes on
        yield Finding(
            check="other-study",
            message="an instance of another study has this SOP Instance UID; it has to be sent under one of "
            "its own",
        )
        return
    # of a study that is new here the accepted bytes cannot be: it may be somebody else's
    same_patient = facts.study is not None and not disagreements(mine, facts.study, identifiers=True)
    if not (facts.same_pixels and same_patient):
        yield Finding(
            check="conflict",
            message="other data was received before under this SOP Instance UID from the same institution",
        )
    elif policy.header_revisions == "hold":
        yield Finding(
            check="header-revision",
            message="another header was received before with the same pixel data and patient",
        )


def _identity_findings(
    identity: Identity, mine: Demographics, facts: Facts, policy: Policy
) -> Iterator[Finding]:
    if mine.temporary:
        yield Finding(
            check="temporary-identity",
            message="a temporary identity of an emergency, to be linked when the person is known",
        )
    if facts.study is not None and (fields := disagreements(mine, facts.study, identifiers=True)):
        yield Finding(
            check="study-demographics", message=f"{_listed(fields)} differ from the rest of the study"
        )
    differing = [field for known in facts.persons for field in disagreements(mine, known, identifiers=False)]
    if differing:
        yield Finding(
            check="person-demographics",
            message=f"{_listed(list(dict.fromkeys(differing)))} differ from the person known under this "
            "identifier",
        )
    number = nhs_number_of(identity)
    if number and of_test_range(number):
        if policy.test_numbers == "warn":
            yield Finding(check="nhs-test-number", message="the NHS number is of the test range (999)")
    elif facts.traced == "not-traced":
        yield Finding(check="nhs-not-traced", message="the NHS number could not be traced")
    elif facts.traced == "superseded":
        yield Finding(check="nhs-superseded", message="the NHS number has been superseded by another")


def _listed(fields: list[str]) -> str:
    return " and ".join((", ".join(fields[:-1]), fields[-1])) if len(fields) > 1 else fields[0]
