"""What findings do, as the directory says, and who may release what they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.directory import DirectoryErrors, Severity, parse
from imex.directory.findings import CHECKS
from imex.events.validations import Finding
from imex.validation.decide import Accepted, Facts, Held, weighed
from imex.validation.identity import Demographics
from imex.validation.policy import Policies, Policy

BASE = "institutions:\n  - {code: RQM, name: Hospital A, kind: nhs%s}\n"
ME = Demographics("NHS", "1", "", "", "")
FOUND = st.lists(st.sampled_from(sorted(CHECKS)), max_size=6, unique=True)
SAYS = st.dictionaries(st.sampled_from(sorted(CHECKS)), st.sampled_from(list(Severity)))


def findings(names: list[str]) -> tuple[Finding, ...]:
    return tuple(Finding(check=name, message=name) for name in names)


@given(names=FOUND, says=SAYS)
def test_an_instance_goes_on_exactly_when_all_that_was_found_is_a_warning(
    names: list[str], says: dict[str, Severity]
) -> None:
    policy = Policy(says)
    decision = weighed(findings(names), ME, Facts(), policy)
    severities = {policy.severity(name) for name in names}
    assert isinstance(decision, Accepted) == (severities <= {Severity.WARN})
    if isinstance(decision, Held):
        assert decision.refused == (Severity.REFUSE in severities)
        assert {finding.check for finding in decision.findings} == set(names)
        assert set(decision.checks) == {n for n in names if policy.severity(n) is not Severity.WARN}
        assert not (decision.refused and decision.releasable)


@given(names=FOUND, says=SAYS)
def test_what_cannot_be_delivered_is_never_waved_through(names: list[str], says: dict[str, Severity]) -> None:
    decision = weighed(findings(names), ME, Facts(), Policy(says))
    if {"readable", "uid", "conflict"} & set(names):
        assert isinstance(decision, Held)
    if {"readable", "uid"} & set(names):
        assert isinstance(decision, Held)
        assert not decision.releasable


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("nhs-numbr: warn", "did you mean 'nhs-number'"),
        ("readable: warn", "cannot be a warning"),
    ],
)
def test_the_directory_refuses_checks_that_are_not_and_warnings_that_cannot_be(says: str, words: str) -> None:
    with pytest.raises(DirectoryErrors, match=words):
        parse(BASE % f", checks: {{{says}}}")


def test_who_says_nothing_has_the_policy_of_all() -> None:
    policies = Policies(parse(BASE % ", checks: {modality: refuse}"))
    assert policies.of("RQM").severity("modality") is Severity.REFUSE
    assert policies.of("RT3").severity("modality") is Severity.WARN


@pytest.mark.parametrize(
    ("name", "identifier", "temporary"),
    [
        ("UNKNOWN^MALE", "", True),
        ("Trauma^Alpha", "T1", True),
        ("DOE^JANE", "", False),
        ("MAJAX^7", "", True),
        ("DOE^JANE", "ED-0042", True),
        ("", "", False),
    ],
)
def test_temporary_identities_by_name_and_by_identifier(name: str, identifier: str, temporary: bool) -> None:
    policy = Policy(temporary=("MAJAX*", "id:ED-*"))
    assert policy.is_temporary(name, identifier) is temporary
