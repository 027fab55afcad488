"""Rule expressions in CEL (Common Expression Language), behind two functions.

Every fact is declared with its type, so a misspelt name or a comparison of a number with a text is found
when the file is checked. Evaluation is bounded by the engine (iteration budget, depth 32, RE2 for
``matches``) and by ``MAX_LENGTH``. A fact that is not known makes an operand unknown; ``&&`` and ``||`` then
decide where the rest suffices (three-valued logic).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from typing import Any

from cel_expr_python import cel

MAX_LENGTH = 2000
"""Longest expression accepted, in characters."""

KEPT = 20_000
"""Compiled expressions kept (about a kilobyte each); a directory of more only compiles some of them again."""

_SYNTAX = re.compile(r"ERROR: <input>:(\d+):(\d+): (.+)")


@cache
def _environment() -> Any:
    kind = cel.Type
    texts = kind.List(kind.STRING)
    return cel.NewEnv(
        variables={
            "source": kind.STRING,
            "source_kind": kind.STRING,
            "called_ae": kind.STRING,
            "study.description": kind.STRING,
            "study.modalities": texts,
            "study.body_parts": texts,
            "study.sop_classes": texts,
            "study.series_descriptions": texts,
        }
    )


@cache
def _series_environment() -> Any:
    kind = cel.Type
    one = kind.Map(kind.STRING, kind.DYN)
    return cel.NewEnv(variables={"series": kind.List(one)})


@lru_cache(maxsize=KEPT)
def _compiled(expression: str) -> Any:
    """A rule's expression, compiled once for its check, its index, and the versions that still have it."""
    return _environment().compile(expression)


@lru_cache(maxsize=KEPT)
def _compiled_series(expression: str) -> Any:
    return _series_environment().compile(expression)


def check_expression(expression: str) -> str | None:
    """What is wrong with an expression, in words, or None where it can be used as a rule's ``when``."""
    return _check(_compiled, expression)


def check_series_expression(expression: str) -> str | None:
    """What is wrong with an expression over a study's series, or None where it can be used."""
    return _check(_compiled_series, expression)


def _check(compile_it: Callable[[str], Any], expression: str) -> str | None:
    if len(expression) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    try:
        compiled = compile_it(expression)
    except RuntimeError as error:
        return f"is no valid CEL expression: {_words(str(error))}"
    if compiled.return_type() != cel.Type.BOOL:
        return (
            f"must be a condition (true or false), but its value is of type {compiled.return_type().name()}"
        )
    return None


class Facts:
    """Facts of one study, handed to the engine once for all conditions that are asked, if any is."""

    def __init__(self, facts: Mapping[str, object]) -> None:
        """`facts` by their declared names; what is left out is not known."""
        self._facts = facts

    @cached_property
    def engine(self) -> Any:
        """As the engine takes them."""
        return _environment().Activation(dict(self._facts))


class Condition:
    """A compiled, checked expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._compiled = _compiled(expression)

    def holds(self, facts: Facts) -> bool | None:
        """Whether it holds; None where facts are missing or the bounded evaluation gave an error."""
        try:
            value = self._compiled.eval(facts.engine).value()
        except RuntimeError:
            return None
        return value if isinstance(value, bool) else None


class SeriesCondition:
    """A compiled, checked expression over a study's series, such as a rule's ``required_series``."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._compiled = _compiled_series(expression)

    def holds(self, series: Sequence[Mapping[str, object]]) -> bool | None:
        """Whether it holds for these series, each with ``modality``, ``description`` and ``body_part``
        (texts) and ``instances`` (a number); None where the bounded evaluation gave an error.
        """
        try:
            value = self._compiled.eval(data={"series": [dict(one) for one in series]}).value()
        except RuntimeError:
            return None
        return value if isinstance(value, bool) else None


def _words(error: str) -> str:
    found = _SYNTAX.search(error)
    if not found:
        return error.split("\n", 1)[0].removeprefix("CANCELLED: ").split(" [", 1)[0]
    _, column, message = found.groups()
    return f"at character {column}: {message.replace(' (in container ' + chr(39) * 2 + ')', '')}"
