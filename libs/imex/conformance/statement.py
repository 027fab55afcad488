"""The statement's text: a template in Markdown, and the facts of the code in it."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from imex.conformance.facts import facts


def render() -> str:
    """The whole document."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  Markdown, of our own facts
    )
    environment.filters["g"] = lambda number: f"{number:g}"
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment.get_template("statement.md.j2").render(facts())
