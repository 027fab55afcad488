"""Standing rules: which match a study and why, and which lane its first instance takes."""

from collections.abc import Collection, Iterable, Mapping

from imex.directory.cel import Facts
from imex.directory.facts import Called, Lane, RuleMatch, Standing, StudyFacts
from imex.directory.index import DirectoryIndex
from imex.directory.model import Rule
from imex.directory.policies import Priority
from imex.directory.selection import Filed

Outcome = tuple[bool | None, str]
"""Whether one condition holds (None: not known), and in words."""


def matching_rules(index: DirectoryIndex, facts: StudyFacts) -> tuple[RuleMatch, ...]:
    """What every rule says of a study, matched or not and why, in the file's order."""
    known = _known(index, facts)
    engine = Facts(known)
    return tuple(_judge(index, filed, facts, known, engine) for filed in index.filed())


def firing_rules(index: DirectoryIndex, facts: StudyFacts) -> list[Filed]:
    """Only the rules that match, in the file's order, without the words: this is asked of every study."""
    kind, description = index.kind_of(facts.source), facts.description.casefold()
    engine: Facts | None = None
    firing: list[Filed] = []
    for filed in index.candidates(facts):
        if not filed.fits(facts, kind, description):
            continue
        if filed.condition is not None:
            engine = engine or Facts(_known(index, facts))
            if filed.condition.holds(engine) is not True:
                continue
        firing.append(filed)
    return firing


def lane(
    index: DirectoryIndex,
    source: str,
    called: Called,
    modality: str | None = None,
    *,
    description: str | None = None,
    body_part: str | None = None,
    sop_class: str | None = None,
) -> Lane:
    """The lane of a study, judged by its first instance; what is not known (None) counts as matching.

    Express where the sender asked for the standing rules and an emergency rule matches or could, else urgent
    where an urgent one does. A recipient named as called AE title is sent to with routine priority, so such a
    study takes bulk.
    """
    if not isinstance(called, Standing):
        return Lane.BULK
    known: dict[str, object] = {"source": source, "source_kind": index.kind_of(source)}
    if description is not None:
        known["study.description"] = description
    for name, value in (
        ("study.modalities", modality),
        ("study.body_parts", body_part),
        ("study.sop_classes", sop_class),
    ):
        if value is not None:
            known[name] = [value] if value else []
    engine = Facts(known)
    for priority, chosen in ((Priority.EMERGENCY, Lane.EXPRESS), (Priority.URGENT, Lane.URGENT)):
        if any(_could_match(index, filed, known, engine) for filed in index.hurrying(source, priority)):
            return chosen
    return Lane.BULK


def _could_match(index: DirectoryIndex, filed: Filed, known: Mapping[str, object], engine: Facts) -> bool:
    if any(held is False for held, _ in _fields(index, filed.rule, known)):
        return False
    return filed.condition is None or filed.condition.holds(engine) is not False


def _judge(
    index: DirectoryIndex, filed: Filed, facts: StudyFacts, known: Mapping[str, object], engine: Facts
) -> RuleMatch:
    rule = filed.rule
    outcomes = _fields(index, rule, known)
    if condition := filed.condition:
        holds = condition.holds(engine)
        said = {True: "holds", False: "does not hold", None: "could not be evaluated"}[holds]
        outcomes.append((holds, f"when {said}: {condition.expression}"))
    matched = all(held is True for held, _ in outcomes)
    reasons = tuple(words for held, words in outcomes if matched or held is not True)
    recipients = index.recipients(rule.to, facts.source) if matched else ()
    return RuleMatch(rule, matched, reasons, recipients)


def _fields(index: DirectoryIndex, rule: Rule, known: Mapping[str, object]) -> list[Outcome]:
    match = rule.match
    if match is None:
        return []
    outcomes: list[Outcome] = []
    if match.source is not None:
        outcomes.append(_one_of("source", known.get("source"), index.members(match.source), match.source))
    if match.source_kind is not None:
        outcomes.append(_one_of("source kind", known.get("source_kind"), match.source_kind))
    if match.called_ae is not None:
        outcomes.append(_one_of("called AE title", known.get("called_ae"), match.called_ae))
    for words, name, wanted in (
        ("modality", "study.modalities", match.modality),
        ("body part", "study.body_parts", match.body_part),
        ("SOP class", "study.sop_classes", match.sop_class),
    ):
        if wanted is not None:
            outcomes.append(_any_of(words, known.get(name), wanted))
    if match.description is not None:
        outcomes.append(_contains(known.get("study.description"), match.description))
    return outcomes


def _known(index: DirectoryIndex, facts: StudyFacts) -> dict[str, object]:
    return {
        "source": facts.source,
        "source_kind": index.kind_of(facts.source),
        "called_ae": facts.called_ae,
        "study.description": facts.description,
        "study.modalities": sorted(facts.modalities),
        "study.body_parts": sorted(facts.body_parts),
        "study.sop_classes": sorted(facts.sop_classes),
        "study.series_descriptions": sorted(facts.series_descriptions),
    }


def _one_of(
    what: str, value: object, accepted: Collection[str], written: Iterable[str] | None = None
) -> Outcome:
    spelt = ", ".join(written if written is not None else accepted)
    if value is None:
        return None, f"{what} is not known; wanted is {spelt}"
    held = value in accepted
    return held, f"{what} {value or '(none)'} is {'' if held else 'not '}{spelt}"


def _any_of(what: str, values: object, wanted: Iterable[str]) -> Outcome:
    spelt = ", ".join(wanted)
    if not isinstance(values, list):
        return None, f"{what} is not known; wanted is {spelt}"
    shared = [value for value in wanted if value in values]
    if shared:
        return True, f"{what} {', '.join(shared)} is in the study"
    return False, f"{what} {spelt} is not in the study ({', '.join(map(str, values)) or 'it has none'})"


def _contains(value: object, wanted: Iterable[str]) -> Outcome:
    spelt = " or ".join(repr(text) for text in wanted)
    if not isinstance(value, str):
        return None, f"study description is not known; wanted is {spelt}"
    held = any(text.casefold() in value.casefold() for text in wanted)
    return held, f"study description {'contains' if held else 'does not contain'} {spelt}"
