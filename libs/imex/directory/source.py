"""Reading the YAML: bounded, without aliases, and with the line of every field.

Every scalar is read as text and given its type by the model, so that a code such as ``0123`` or ``NO`` stays
what was written.
"""

from typing import Any

import yaml

from imex.directory.errors import DirectoryError, DirectoryErrors, Location, Problem, spell

MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 16
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BASE_LOADER: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Source:
    """A parsed file: its plain value and, for every location, the line."""

    def __init__(self, text: str) -> None:
        """Raises ``DirectoryErrors`` where the text is no acceptable YAML at all."""
        self.problems: list[Problem] = []
        self._root = _compose(text)
        self.value: Any = self._plain(self._root, ())

    def line(self, loc: Location, *, of_key: bool = False) -> int:
        """The line (from 1) of a field, or of the nearest thing around it where the field is absent."""
        node: yaml.Node = self._root
        line = 1
        for part in loc:
            if isinstance(node, yaml.MappingNode):
                entry = next(((key, value) for key, value in node.value if key.value == part), None)
                if entry is None:  # the tag of a union, or a field that is missing
                    continue
                key, node = entry
                line = key.start_mark.line + 1
                if not of_key and isinstance(node, yaml.ScalarNode):
                    line = node.start_mark.line + 1
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
        return line

    def error(self, problem: Problem) -> DirectoryError:
        """The problem with its line."""
        return DirectoryError(self.line(problem.loc), spell(problem.loc), problem.message)

    def _plain(self, node: yaml.Node, loc: Location) -> Any:
        if isinstance(node, yaml.MappingNode):
            plain: dict[str, Any] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self.problems.append(Problem(loc, "has a key that is no text"))
                elif key.value in plain:
                    first = self.line((*loc, key.value), of_key=True)
                    self.problems.append(
                        Problem(
                            loc,
                            f"{key.value!r} is given twice, on lines {first} and {key.start_mark.line + 1}",
                        )
                    )
                elif not _is_null(value):
                    plain[key.value] = self._plain(value, (*loc, key.value))
            return plain
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*loc, index)) for index, item in enumerate(node.value)]
        return None if _is_null(node) else node.value


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS


def _compose(text: str) -> yaml.MappingNode:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise _whole(f"is {size} bytes long; a directory may have {MAX_BYTES}")
    try:
        _refuse_tricks(text)
        node: yaml.Node | None = yaml.compose(text, Loader=_BASE_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _whole(
            f"is no valid YAML: {error.problem or error.context}", mark.line + 1 if mark else 0
        ) from error
    except yaml.YAMLError as error:
        raise _whole(f"is no valid YAML: {str(error).splitlines()[0]}") from error
    if node is None or _is_null(node):
        raise _whole("is empty; a directory that names nobody is written as 'institutions: []'")
    if not isinstance(node, yaml.MappingNode):
        raise _whole("must be a mapping with institutions, groups, agreements and rules", 1)
    return node


def _refuse_tricks(text: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=_BASE_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise _whole("aliases (*name) are not accepted; write the value out", line)
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise _whole("anchors (&name) are not accepted; write the value out", line)
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
            if event.tag not in {None, "!"} and not plain:
                raise _whole("tags (!name) are not accepted", line)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _whole(f"is nested deeper than {MAX_DEPTH}", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _whole("holds more than one YAML document", line)


def _whole(message: str, line: int = 0) -> DirectoryErrors:
    return DirectoryErrors([DirectoryError(line, "", message)])
