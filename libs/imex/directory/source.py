"""Reading the YAML: bounded, without aliases, and with the line of every field.

Every scalar is read as text and given its type by the model, so that a code such as ``0123`` or ``NO`` stays
what was written. One pass over the parser's events gives the plain values; lines are looked for in another,
and only where something was found to be wrong.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from imex.directory.errors import DirectoryError, DirectoryErrors, Location, Problem, spell

MAX_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 16
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BASE_LOADER: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NO_TAG = frozenset({None, "!"})

Event = Any
"""One of `yaml.events`; they are untyped."""


class Source:
    """A parsed file: its plain value, what is wrong with it as YAML, and the lines of its fields."""

    def __init__(self, text: str) -> None:
        """Raises ``DirectoryErrors`` where the text is no acceptable YAML at all."""
        self._text = text
        reader = _Reader()
        self.value: Any = reader.read(text)
        self.problems: list[Problem] = reader.problems
        self._nulls = reader.nulls

    def errors(self, problems: Iterable[Problem]) -> list[DirectoryError]:
        """The problems, each with the line (from 1) of its field, or of the nearest thing around it."""
        found = [(problem, self._place(problem.loc)) for problem in problems]
        lines = _lines(self._text, [place for _, place in found])
        return [
            DirectoryError(
                self._nulls.get(problem.loc) or lines.get(place, 1), spell(problem.loc), problem.message
            )
            for problem, place in found
        ]

    def _place(self, loc: Location) -> Location:
        """The path as far as it is there: a union's tag, or a field that is missing, is passed over."""
        place: list[str | int] = []
        node = self.value
        for part in loc:
            if isinstance(node, dict):
                if part in node:
                    place.append(part)
                    node = node[str(part)]
            elif isinstance(node, list) and isinstance(part, int) and part < len(node):
                place.append(part)
                node = node[part]
        return tuple(place)


@dataclass(slots=True)
class _Frame:
    """A mapping or a list that is not finished."""

    values: dict[str, Any] | list[Any] | None
    """None: it is passed over."""
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)
    skips: bool = False
    """The value to come belongs to a key that is no text."""


class _Reader:
    """Builds plain values out of events."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.nulls: dict[Location, int] = {}
        self._stack: list[_Frame] = []

    def read(self, text: str) -> dict[str, Any]:
        root: Any = None
        stack = self._stack
        for event in _events(text):
            kind = type(event)
            if kind is yaml.ScalarEvent:
                if not stack:
                    if not _is_null(event):
                        raise _whole("must be a mapping with institutions, groups, agreements and rules", 1)
                else:
                    self._scalar(stack[-1], event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                values: dict[str, Any] | list[Any] = {} if kind is yaml.MappingStartEvent else []
                if not stack:
                    if isinstance(values, list):
                        raise _whole("must be a mapping with institutions, groups, agreements and rules", 1)
                    root = values
                    stack.append(_Frame(values))
                else:
                    stack.append(_Frame(self._put(stack[-1], values)))
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                stack.pop()
        if root is None:
            raise _whole("is empty; a directory that names nobody is written as 'institutions: []'")
        plain: dict[str, Any] = root
        return plain

    def _scalar(self, frame: _Frame, event: Event) -> None:
        values, text = frame.values, event.value
        if isinstance(values, list):
            values.append(None if text in _NULLS and _is_null(event) else text)
        elif values is None or frame.skips:
            frame.skips = False
        elif frame.key is None:
            line = event.start_mark.line + 1
            if text in values:
                self.problems.append(
                    Problem(self._loc(), f"{text!r} is given twice, on lines {frame.lines[text]} and {line}")
                )
                frame.skips = True
            else:
                frame.lines[text] = line
                frame.key = text
        else:
            if text in _NULLS and _is_null(event):
                self.nulls[*self._loc(), frame.key] = frame.lines[frame.key]
            else:
                values[frame.key] = text
            frame.key = None

    def _put(self, frame: _Frame, values: dict[str, Any] | list[Any]) -> dict[str, Any] | list[Any] | None:
        """Where a mapping or list goes that begins now; None where nowhere."""
        around = frame.values
        if isinstance(around, list):
            around.append(values)
            return values
        if around is None or frame.skips:
            frame.skips = False
            return None
        if frame.key is None:
            self.problems.append(Problem(self._loc(), "has a key that is no text"))
            frame.skips = True
            return None
        around[frame.key] = values
        frame.key = None
        return values

    def _loc(self) -> Location:
        """Where the innermost thing that is not finished stands."""
        return tuple(
            len(outer.values) - 1 if isinstance(outer.values, list) else list(outer.values or {"?": 0})[-1]
            for outer in self._stack[:-1]
        )


def _is_null(event: Event) -> bool:
    return not event.style and event.value in _NULLS and event.implicit[0]


def _lines(text: str, places: Iterable[Location]) -> dict[Location, int]:
    """The line of each place: a field's value where that is in one piece, else its key; an item's begin."""
    wanted: dict[Any, Any] = {}
    for place in places:
        node = wanted
        for part in place:
            node = node.setdefault(part, {})
    lines: dict[Location, int] = {}
    stack: list[_Walk] = []
    for event in _events(text) if wanted else ():
        kind = type(event)
        if kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            stack.pop()
        elif kind is yaml.ScalarEvent:
            if stack:
                stack[-1].meet(event, lines)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            wanted_there, place = stack[-1].meet(event, lines) if stack else (wanted, ())
            stack.append(_Walk(wanted_there, place, kind is yaml.SequenceStartEvent))
    return lines


@dataclass(slots=True)
class _Walk:
    """A mapping or list on the way through the events, and what is wanted of it."""

    wanted: dict[Any, Any]
    place: Location
    is_list: bool
    part: str | int | None = None
    expects_value: bool = False

    def meet(self, event: Event, lines: dict[Location, int]) -> tuple[dict[Any, Any], Location]:
        """The next key, value or item begins: what is wanted of it, and where it stands."""
        line, scalar = event.start_mark.line + 1, type(event) is yaml.ScalarEvent
        if self.is_list:
            self.part = self.part + 1 if isinstance(self.part, int) else 0
        elif not self.expects_value:
            self.part, self.expects_value = event.value if scalar else None, True
            if self.part in self.wanted:
                lines.setdefault((*self.place, str(self.part)), line)
            return {}, ()
        self.expects_value = False
        if self.part is None or self.part not in self.wanted:
            return {}, ()
        place = (*self.place, self.part)
        if scalar or self.is_list:
            lines[place] = line
        return self.wanted[self.part], place


def _events(text: str) -> Iterator[Event]:
    """The parser's events, without what a directory does not accept.

    Raises ``DirectoryErrors`` with what is wrong, and where.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise _whole(f"is {size} bytes long; a directory may have {MAX_BYTES}")
    try:
        yield from _accepted(yaml.parse(text, Loader=_BASE_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _whole(
            f"is no valid YAML: {error.problem or error.context}", mark.line + 1 if mark else 0
        ) from error
    except yaml.YAMLError as error:
        raise _whole(f"is no valid YAML: {str(error).splitlines()[0]}") from error


def _accepted(events: Iterable[Event]) -> Iterator[Event]:
    depth = documents = 0
    for event in events:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            if event.anchor is not None or (event.tag not in _NO_TAG and not event.implicit[0]):
                raise _tricky(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            if event.anchor is not None or event.tag not in _NO_TAG:
                raise _tricky(event)
            depth += 1
            if depth > MAX_DEPTH:
                raise _whole(f"is nested deeper than {MAX_DEPTH}", event.start_mark.line + 1)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            depth -= 1
        elif kind is yaml.AliasEvent:
            raise _tricky(event)
        elif kind is yaml.DocumentStartEvent:
            documents += 1
            if documents > 1:
                raise _whole("holds more than one YAML document", event.start_mark.line + 1)
        yield event


def _tricky(event: Event) -> DirectoryErrors:
    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent):
        return _whole("aliases (*name) are not accepted; write the value out", line)
    if event.anchor is not None:
        return _whole("anchors (&name) are not accepted; write the value out", line)
    return _whole("tags (!name) are not accepted", line)


def _whole(message: str, line: int = 0) -> DirectoryErrors:
    return DirectoryErrors([DirectoryError(line, "", message)])
