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
    DIRECT_CARE,
    Agreement,
    Directory,
    Endpoint,
    Institution,
    Priority,
    Rule,
    SendingLimits,
)
from imex.directory.parse import parse
from imex.directory.rules import lane, matching_rules, rules_that_match

__all__ = [
    "DIRECT_CARE",
    "Agreement",
    "Called",
    "Change",
    "Coverage",
    "Directory",
    "DirectoryError",
    "DirectoryErrors",
    "DirectoryIndex",
    "Endpoint",
    "IdentifiedSender",
    "Institution",
    "Lane",
    "Priority",
    "Recipient",
    "Rule",
    "RuleMatch",
    "SendingLimits",
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
