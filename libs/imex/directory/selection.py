"""Which rules could match a study, found without looking at the others.

A rule is filed under its sources, and there under the structured condition that fewest other rules share:
a study's own values then lead to it. Rules of which neither helps are looked at each time.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from imex.directory.cel import Condition
from imex.directory.facts import StudyFacts
from imex.directory.model import Match, Rule
from imex.directory.policies import Priority

Key = tuple[str, str]
"""A field of `Match` and one of the values it accepts."""

_ANYTHING = Match.model_construct()
_SOURCE = re.compile(r"""source\s*==\s*(["'])([A-Za-z0-9_.-]+)\1|(["'])([A-Za-z0-9_.-]+)\3\s*==\s*source""")
_INTRICATE = ("\\", "//", '"""', "'''")
_STRING = re.compile(r"""[rRbB]?("[^"]*"|'[^']*')""")


@dataclass(frozen=True, slots=True, eq=False)
class Filed:
    """A rule as it is looked at for every study that could match."""

    order: int
    rule: Rule
    recipients: tuple[str, ...]
    """Institutions it names, groups spelt out."""
    sources: frozenset[str] | None
    """None: any."""
    kinds: frozenset[str] | None
    called: frozenset[str] | None
    modalities: frozenset[str] | None
    body_parts: frozenset[str] | None
    sop_classes: frozenset[str] | None
    texts: tuple[str, ...] | None
    """Case-folded; one of them has to be in the study's description."""
    condition: Condition | None

    def fits(self, facts: StudyFacts, kind: str, description: str) -> bool:
        """Whether all structured conditions hold. ``description`` is case-folded."""
        return (
            (self.sources is None or facts.source in self.sources)
            and (self.modalities is None or not self.modalities.isdisjoint(facts.modalities))
            and (self.kinds is None or kind in self.kinds)
            and (self.called is None or facts.called_ae in self.called)
            and (self.body_parts is None or not self.body_parts.isdisjoint(facts.body_parts))
            and (self.sop_classes is None or not self.sop_classes.isdisjoint(facts.sop_classes))
            and (self.texts is None or any(text in description for text in self.texts))
        )

    def keys(self) -> dict[str, frozenset[str]]:
        """The conditions by which it can be found, by the field's name."""
        named = (
            ("called", self.called),
            ("modalities", self.modalities),
            ("body_parts", self.body_parts),
            ("sop_classes", self.sop_classes),
        )
        return {name: values for name, values in named if values is not None}


_order = attrgetter("order")


class _Drawer:
    """Rules of one source, or of any, by the most telling of their conditions."""

    def __init__(self, rules: Sequence[Filed]) -> None:
        shared = Counter(
            (field, value) for filed in rules for field, values in filed.keys().items() for value in values
        )
        self._by: dict[Key, list[Filed]] = defaultdict(list)
        self._rest: list[Filed] = []
        for filed in rules:
            keys = filed.keys()
            if not keys:
                self._rest.append(filed)
                continue
            field = min(keys, key=lambda one: sum(shared[one, value] for value in keys[one]))
            for value in keys[field]:
                self._by[field, value].append(filed)
        self._by.default_factory = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no rule in it."""
        return not self._by and not self._rest

    def look(self, keys: Iterable[Key], found: list[Filed]) -> None:
        """Add the rules that a study with these keys could match."""
        found += self._rest
        if self._by:
            for key in keys:
                if there := self._by.get(key):
                    found += there


class Selection:
    """All rules of a directory, filed; immutable."""

    def __init__(self, rules: Sequence[Rule], everyone: Callable[[tuple[str, ...]], Iterable[str]]) -> None:
        """`everyone` names the institutions behind codes of institutions and groups."""
        self.filed = [_file(order, rule, everyone) for order, rule in enumerate(rules)]
        self._of: dict[str, list[Filed]] = defaultdict(list)
        self._any: list[Filed] = []
        for filed in self.filed:
            if filed.sources is None:
                self._any.append(filed)
            else:
                for source in filed.sources:
                    self._of[source].append(filed)
        self._of.default_factory = None
        self._drawers = {source: _Drawer(rules) for source, rules in self._of.items()}
        self._drawer_of_any = _Drawer(self._any)
        self._hurrying: dict[tuple[str | None, Priority], list[Filed]] = defaultdict(list)
        for filed in self.filed:
            if filed.rule.priority is not Priority.ROUTINE:
                for code in filed.sources if filed.sources is not None else (None,):
                    self._hurrying[code, filed.rule.priority].append(filed)
        self._hurrying.default_factory = None

    def candidates(self, facts: StudyFacts) -> list[Filed]:
        """Rules that could match, in the file's order, each once."""
        found: list[Filed] = []
        keys: list[Key] = []
        for drawer in (self._drawers.get(facts.source), self._drawer_of_any):
            if drawer is None or drawer.is_empty:
                continue
            keys = keys or [
                ("called", facts.called_ae),
                *[("modalities", one) for one in facts.modalities],
                *[("body_parts", one) for one in facts.body_parts],
                *[("sop_classes", one) for one in facts.sop_classes],
            ]
            drawer.look(keys, found)
        if len(found) < 2:
            return found
        found.sort(key=_order)
        return [one for place, one in enumerate(found) if not place or one is not found[place - 1]]

    def hurrying(self, source: str, priority: Priority) -> Iterator[Filed]:
        """Rules of an urgent priority that could match a study of this source."""
        yield from self._hurrying.get((source, priority), ())
        yield from self._hurrying.get((None, priority), ())


def _file(order: int, rule: Rule, everyone: Callable[[tuple[str, ...]], Iterable[str]]) -> Filed:
    match, when = rule.match or _ANYTHING, rule.when
    sources = frozenset(everyone(match.source)) if match.source is not None else None
    if when is not None and (named := source_named(when)) is not None:
        # the condition is evaluated all the same: this only saves asking it for every other source
        sources = frozenset({named}) if sources is None else sources & {named}
    return Filed(
        order=order,
        rule=rule,
        recipients=tuple(everyone(rule.to)),
        sources=sources,
        kinds=_set(match.source_kind),
        called=_set(match.called_ae),
        modalities=_set(match.modality),
        body_parts=_set(match.body_part),
        sop_classes=_set(match.sop_class),
        texts=tuple(text.casefold() for text in match.description) if match.description else None,
        condition=Condition(when) if when is not None else None,
    )


def _set(values: Iterable[str] | None) -> frozenset[str] | None:
    return frozenset(map(str, values)) if values is not None else None


def source_named(expression: str) -> str | None:
    """The one source that a CEL condition demands by ``source == "CODE" && …``; None where that is not sure.

    It is sure where the comparison is joined to all the rest by ``&&``, outside all brackets.
    """
    if any(sign in expression for sign in _INTRICATE):
        return None
    bare = _STRING.sub(lambda found: "x" * len(found.group()), expression) + "&&"
    named: str | None = None
    start = depth = 0
    for place, character in enumerate(bare):
        depth += (character in "([{") - (character in ")]}")
        if depth:
            continue
        if character in "?|":
            return None
        if bare.startswith("&&", place):
            found = _SOURCE.fullmatch(expression[start:place].strip())
            named = named or (found and (found.group(2) or found.group(4)))
            start = place + 2
    return named
