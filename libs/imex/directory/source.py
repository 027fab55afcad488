"""Reading the YAML: bounded, without aliases, and with the line of every field.

Every scalar is read as text and given its type by the model, so that a code such as ``0123`` or ``NO`` stays
what was written. One pass over the parser's events gives the plain values and their lines.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from imex.directory.errors import DirectoryError, DirectoryErrors, Location, Problem, spell

MAX_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 16
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BASE_LOADER: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NO_MAPPING = "must be a mapping with institutions, groups, agreements and rules"
_NO_TAG = frozenset({None, "!"})

Event = Any
"""One of `yaml.events`; they are untyped."""


class Source:
    """A parsed file: its plain value, what is wrong with it as YAML, and the lines of its fields."""

    def __init__(self, text: str) -> None:
        """Raises ``DirectoryErrors`` where the text is no acceptable YAML at all."""
        reader = _Reader()
        self.value: Any = reader.read(text)
        self.problems: list[Problem] = reader.problems
        self._lines = reader.lines

    def line(self, loc: Location) -> int:
        """The line (from 1) of a field, or of the nearest thing around it where the field is absent.

        A value that is in one piece has its own line, any other its key's.
        """
        node, line = self.value, 1
        for part in loc:
            lines = self._lines.get(id(node), {})
            line = lines.get(part, line)
            # the tag of a union, or a field that is missing, is passed over
            if isinstance(node, dict):
                node = node.get(part, node)
            elif isinstance(node, list) and isinstance(part, int) and part < len(node):
                node = node[part]
        return line

    def error(self, problem: Problem) -> DirectoryError:
        """The problem with its line."""
        return DirectoryError(self.line(problem.loc), spell(problem.loc), problem.message)


@dataclass(slots=True)
class _Frame:
    """A mapping or a list that is not finished."""

    values: dict[str, Any] | list[Any] | None
    """None: it is passed over."""
    lines: dict[str | int, int]
    key: str | None = None
    skips: bool = False
    """The value to come belongs to a key that is no text."""


class _Reader:
    """Builds plain values out of events."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.lines: dict[int, dict[str | int, int]] = {}
        """Of what is in each mapping and list, by its identity: a key also where its value is null."""
        self._root: dict[str, Any] | None = None
        self._documents = 0
        self._stack: list[_Frame] = []
        self._takes: dict[type, Callable[[Event], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.AliasEvent: _refuse,
            yaml.DocumentStartEvent: self._document,
        }

    def read(self, text: str) -> dict[str, Any]:
        """The root. Raises ``DirectoryErrors`` with what a directory does not accept, and where."""
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > MAX_BYTES:
            raise _whole(f"is {size} bytes long; a directory may have {MAX_BYTES}")
        takes = self._takes
        try:
            for event in iter(_BASE_LOADER(text).get_event, None):
                if (take := takes.get(type(event))) is not None:
                    take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise _whole(
                f"is no valid YAML: {error.problem or error.context}", mark.line + 1 if mark else 0
            ) from error
        except yaml.YAMLError as error:
            raise _whole(f"is no valid YAML: {str(error).splitlines()[0]}") from error
        if self._root is None:
            raise _whole("is empty; a directory that names nobody is written as 'institutions: []'")
        return self._root

    def _document(self, event: Event) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _whole("holds more than one YAML document", event.start_mark.line + 1)

    def _start(self, event: Event) -> None:
        if event.anchor is not None or event.tag not in _NO_TAG:
            _refuse(event)
        stack = self._stack
        if len(stack) == MAX_DEPTH:
            raise _whole(f"is nested deeper than {MAX_DEPTH}", event.start_mark.line + 1)
        values: dict[str, Any] | list[Any] | None = {} if type(event) is yaml.MappingStartEvent else []
        if stack:
            values = self._put(stack[-1], values, event)
        elif isinstance(values, dict):
            self._root = values
        else:
            raise _whole(_NO_MAPPING, 1)
        lines: dict[str | int, int] = {}
        if values is not None:
            self.lines[id(values)] = lines
        stack.append(_Frame(values, lines))

    def _end(self, _event: Event) -> None:
        self._stack.pop()

    def _scalar(self, event: Event) -> None:
        if event.anchor is not None or (event.tag not in _NO_TAG and not event.implicit[0]):
            _refuse(event)
        if not self._stack:
            if not _is_null(event):
                raise _whole(_NO_MAPPING, 1)
            return
        frame, text = self._stack[-1], event.value
        values = frame.values
        if isinstance(values, list):
            frame.lines[len(values)] = event.start_mark.line + 1
            values.append(None if text in _NULLS and _is_null(event) else text)
        elif values is None or frame.skips:
            frame.skips = False
        elif frame.key is None:
            line = event.start_mark.line + 1
            if text in values:
                words = f"{text!r} is given twice, on lines {frame.lines[text]} and {line}"
                self.problems.append(Problem(self._loc(), words))
                frame.skips = True
            else:
                frame.lines[text] = line
                frame.key = text
        else:
            if not (text in _NULLS and _is_null(event)):
                values[frame.key] = text
                frame.lines[frame.key] = event.start_mark.line + 1
            frame.key = None

    def _put(
        self, frame: _Frame, values: dict[str, Any] | list[Any] | None, event: Event
    ) -> dict[str, Any] | list[Any] | None:
        """Where a mapping or list goes that begins now; None where nowhere."""
        around = frame.values
        if isinstance(around, list):
            frame.lines[len(around)] = event.start_mark.line + 1
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


def _refuse(event: Event) -> NoReturn:
    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent):
        raise _whole("aliases (*name) are not accepted; write the value out", line)
    if event.anchor is not None:
        raise _whole("anchors (&name) are not accepted; write the value out", line)
    raise _whole("tags (!name) are not accepted", line)


def _whole(message: str, line: int = 0) -> DirectoryErrors:
    return DirectoryErrors([DirectoryError(line, "", message)])
