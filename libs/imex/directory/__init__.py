"""The directory: who may send, who receives, under which agreements and rules. Pure; no I/O."""

from imex.directory.agreements import covering_agreement
from imex.directory.diff import Change, diff
from imex.directory.document import digest, render_schema, to_yaml
from imex.directory.errors import DirectoryError, DirectoryErrors
from imex.directory.facts import (
    Called,
    Coverage,
    IdentifiedSender,
    Lane,
    Marks,
    Recipient,
    RuleMatch,
    Standing,
    StudyFacts,
    UnknownCalled,
    UnknownSender,
    WhyUnknown,
)
from imex.directory.index import DirectoryIndex, is_open
from imex.directory.model import (
    Agreement,
    Directory,
    Endpoint,
    Institution,
    Rule,
    SendingLimits,
)
from imex.directory.parse import parse
from imex.directory.policies import (
    DIRECT_CARE,
    LEGAL_DUTIES,
    PURPOSES_OF_CARE,
    Alternate,
    Completeness,
    Deidentification,
    Escalation,
    IdentityPolicy,
    Priority,
    Priors,
    Severity,
)
from imex.directory.rules import lane, matching_rules, rules_that_match

__all__ = [
    "DIRECT_CARE",
    "LEGAL_DUTIES",
    "PURPOSES_OF_CARE",
    "Agreement",
    "Alternate",
    "Called",
    "Change",
    "Completeness",
    "Coverage",
    "Deidentification",
    "Directory",
    "DirectoryError",
    "DirectoryErrors",
    "DirectoryIndex",
    "Endpoint",
    "Escalation",
    "IdentifiedSender",
    "IdentityPolicy",
    "Institution",
    "Lane",
    "Marks",
    "Priority",
    "Priors",
    "Recipient",
    "Rule",
    "RuleMatch",
    "SendingLimits",
    "Severity",
    "Standing",
    "StudyFacts",
    "UnknownCalled",
    "UnknownSender",
    "WhyUnknown",
    "covering_agreement",
    "diff",
    "digest",
    "is_open",
    "lane",
    "matching_rules",
    "parse",
    "render_schema",
    "rules_that_match",
    "to_yaml",
]
