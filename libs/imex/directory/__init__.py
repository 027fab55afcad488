"""The directory: who may send, who receives, under which agreements and rules. Pure; no I/O."""

from imex.directory.agreements import (
    AgreementTold,
    agreements_told,
    asked_of,
    covering_agreement,
    opt_out_applies,
)
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
from imex.directory.parse import Inspected, inspect, parse
from imex.directory.part import Part
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
from imex.directory.rules import firing_rules, lane, matching_rules

__all__ = [
    "DIRECT_CARE",
    "LEGAL_DUTIES",
    "PURPOSES_OF_CARE",
    "Agreement",
    "AgreementTold",
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
    "Inspected",
    "Institution",
    "Lane",
    "Marks",
    "Part",
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
    "agreements_told",
    "asked_of",
    "covering_agreement",
    "diff",
    "digest",
    "firing_rules",
    "inspect",
    "is_open",
    "lane",
    "matching_rules",
    "opt_out_applies",
    "parse",
    "render_schema",
    "to_yaml",
]
