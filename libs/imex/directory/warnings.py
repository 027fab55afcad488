"""What a directory accepts, but nobody can have meant: told when it is checked, and never an error."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from difflib import get_close_matches

from imex.directory.agreements import covering_agreement, may_ever_cover
from imex.directory.errors import Location, Problem
from imex.directory.index import DirectoryIndex, local_time
from imex.directory.model import Agreement, DicomEndpoint, Endpoint, Institution, Rule
from imex.directory.policies import LEGAL_DUTIES, PURPOSES_OF_CARE, Alternate, Priority
from imex.directory.reports import node_for_reports
from imex.directory.selection import Filed

KNOWN_PURPOSES = PURPOSES_OF_CARE | LEGAL_DUTIES | {"research", "ai"}
"""Any other is accepted as well; the national data opt-out applies to it."""

_ORDER = list(Priority)


def warn(index: DirectoryIndex, at: datetime) -> Iterator[Problem]:
    """Every warning about a directory that is otherwise in order, as of a moment."""
    for number, institution in enumerate(index.directory.institutions):
        yield from _institution(("institutions", number), institution)
    yield from _commitments(index)
    for number, agreement in enumerate(index.directory.agreements):
        yield from _agreement(index, ("agreements", number), agreement, at)
    covers = _Covers(index, at)
    for filed in index.filed():
        yield from _rule(index, ("rules", filed.order), filed, covers)


class _Covers:
    """Whether anything could ever go to a recipient by a rule."""

    def __init__(self, index: DirectoryIndex, at: datetime) -> None:
        self._index, self._at = index, at
        self._to: dict[str, list[Agreement]] = defaultdict(list)
        for agreement in index.directory.agreements:
            for recipient in index.members(agreement.to):
                self._to[recipient].append(agreement)
        self._from: Callable[[Agreement], frozenset[str]] = lambda agreement: frozenset(
            index.members(agreement.from_)
        )

    def nobody(self, filed: Filed, recipient: str) -> str:
        """Why none of a rule's sources may send to a recipient, in words; empty where one may."""
        rule, day = filed.rule, local_time(self._at).date()
        for agreement in self._to.get(recipient, ()):
            sources = (
                self._from(agreement) if filed.sources is None else self._from(agreement) & filed.sources
            )
            if sources - {recipient} and may_ever_cover(
                agreement, rule.purpose, day, filed.modalities, rule.clinician
            ):
                return ""
        if filed.sources is not None and len(filed.sources) == 1:
            (source,) = filed.sources
            return covering_agreement(
                self._index, source, recipient, rule.purpose, self._at, clinician=rule.clinician
            ).words
        return f"no agreement covers any of its sources to {recipient} for {rule.purpose}"


def _institution(loc: Location, institution: Institution) -> Iterator[Problem]:
    for number, endpoint in enumerate(institution.endpoints):
        identity = endpoint.identity
        if identity.unmapped != "hold" and "map" not in {identity.patient_id, identity.accession}:
            yield Problem(
                (*loc, "endpoints", number, "identity", "unmapped"),
                "says nothing where neither patient_id nor accession is 'map'",
            )
        if endpoint.type == "dicom" and endpoint.query and not institution.senders:
            yield Problem(
                (*loc, "endpoints", number, "query"),
                "nothing that it sends is let in: the institution has no sender",
            )
        if endpoint.type != "inbox" and endpoint.query_issuer and not endpoint.query:
            yield Problem((*loc, "endpoints", number, "query_issuer"), "says nothing without query: true")


def _commitments(index: DirectoryIndex) -> Iterator[Problem]:
    asking = [
        (("institutions", number, "senders", place, "commitment"), institution, sender)
        for number, institution in enumerate(index.directory.institutions)
        for place, sender in enumerate(institution.senders)
        if sender.commitment
    ]
    answered = _answered(index) if asking else frozenset()
    for where, institution, sender in asking:
        if node_for_reports(institution, sender) is None:
            yield Problem(
                where,
                "no DICOM endpoint to report to: name one in report_to; without one, reports go out on the "
                "association of the question alone, while it is open",
            )
        if institution.code not in answered:
            yield Problem(
                where,
                "every answer will be no: no recipient of its agreements has an endpoint with "
                "'confirm: commitment'",
            )


def _answered(index: DirectoryIndex) -> frozenset[str]:
    """Who may send, as it is, to somebody whose archive commits."""
    return frozenset(
        source
        for agreement in index.directory.agreements
        if agreement.deidentify is None and any(_keeps(index, code) for code in index.members(agreement.to))
        for source in index.members(agreement.from_)
    )


def _keeps(index: DirectoryIndex, code: str) -> bool:
    endpoints = index.institutions[code].endpoints
    return any(isinstance(one, DicomEndpoint) and one.confirm == "commitment" for one in endpoints)


def _agreement(index: DirectoryIndex, loc: Location, agreement: Agreement, at: datetime) -> Iterator[Problem]:
    if agreement.valid_until and agreement.valid_until < local_time(at).date():
        yield Problem((*loc, "valid_until"), f"has ended on {agreement.valid_until}: it lets nothing through")
    for place, purpose in enumerate(agreement.purposes):
        yield from _purpose((*loc, "purposes", place), purpose)
    sources, recipients = index.members(agreement.from_), index.members(agreement.to)
    if len(sources) == 1 and sources == recipients:
        yield Problem((*loc, "to"), "is only the institution that it is from: it lets nothing through")
    if agreement.deidentify is None:
        return
    if care := [one for one in agreement.purposes if one in PURPOSES_OF_CARE]:
        yield Problem(
            (*loc, "deidentify"),
            f"also holds for {', '.join(care)}: whoever cares for the person will not know who it is",
        )
    for recipient in recipients:
        if any(_maps(endpoint) for endpoint in index.institutions[recipient].endpoints):
            yield Problem(
                (*loc, "deidentify"),
                f"leaves no identifier that {recipient}'s endpoint could map to its own",
            )


def _maps(endpoint: Endpoint) -> bool:
    return "map" in {endpoint.identity.patient_id, endpoint.identity.accession}


def _rule(index: DirectoryIndex, loc: Location, filed: Filed, covers: _Covers) -> Iterator[Problem]:
    rule = filed.rule
    yield from _purpose((*loc, "purpose"), rule.purpose)
    if filed.sources is None and rule.match is None:
        yield Problem(
            (*loc, "when"), "is evaluated for every study of everybody; name its source, in match or in &&"
        )
    if filed.sources is not None and not filed.sources:
        yield Problem(loc, "matches nothing: match and when name different sources")
    for place, code in enumerate(rule.to):
        words = [
            said for one in _others(index, code, filed) if (said := _unreachable(index, covers, filed, one))
        ]
        if words:
            yield Problem((*loc, "to", place), _some(words))
    for number, alternate in enumerate(rule.alternates):
        yield from _alternate(index, (*loc, "alternates", number), filed, alternate, covers)
    if rule.escalate and _ORDER.index(rule.escalate.to) <= _ORDER.index(rule.priority):
        own = rule.priority.value
        yield Problem((*loc, "escalate", "to"), f"is no more urgent than the rule's own priority, {own}")


def _alternate(
    index: DirectoryIndex, loc: Location, filed: Filed, alternate: Alternate, covers: _Covers
) -> Iterator[Problem]:
    rule = filed.rule
    recipients = [one for code in rule.to for one in _others(index, code, filed)]
    if (
        alternate.if_ != "uncovered"
        and recipients
        and not any(_may_hold(index, rule, alternate, one) for one in recipients)
    ):
        lacking = "hours" if alternate.if_ == "closed" else "sop_classes"
        yield Problem((*loc, "if"), f"never holds: no endpoint of {', '.join(rule.to)} has {lacking}")
    for place, code in enumerate(alternate.to):
        words = [
            said for one in _others(index, code, filed) if (said := _unreachable(index, covers, filed, one))
        ]
        if words:
            yield Problem((*loc, "to", place), f"is passed over: {_some(words)}")


def _may_hold(index: DirectoryIndex, rule: Rule, alternate: Alternate, recipient: str) -> bool:
    endpoint = index.endpoint_for(recipient, rule.endpoint)
    if endpoint is None:
        return True
    accepts = endpoint.accepts
    return (accepts.hours if alternate.if_ == "closed" else accepts.sop_classes) is not None


def _others(index: DirectoryIndex, code: str, filed: Filed) -> Sequence[str]:
    only = next(iter(filed.sources)) if filed.sources is not None and len(filed.sources) == 1 else ""
    return index.recipients(code, only)


def _unreachable(index: DirectoryIndex, covers: _Covers, filed: Filed, recipient: str) -> str:
    if index.endpoint_for(recipient) is None:
        return f"{recipient} has no endpoint to deliver to"
    return covers.nobody(filed, recipient)


def _some(words: Sequence[str]) -> str:
    more = len(words) - 1
    return words[0] + (f"; and {more} more of its members" if more else "")


def _purpose(loc: Location, purpose: str) -> Iterator[Problem]:
    if purpose not in KNOWN_PURPOSES:
        close = get_close_matches(purpose, sorted(KNOWN_PURPOSES), n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(KNOWN_PURPOSES))}"
        yield Problem(loc, f"{purpose!r} is no known purpose, and the opt-out applies to it{hint}")
