"""The Jinja environment of the pages."""

from importlib.metadata import version

from jinja2 import ChainableUndefined, ChoiceLoader, Environment, PackageLoader

from imex.events.shares import FINAL_STATES
from imex.portal.pages import words
from imex.portal.settings import PortalSettings


def templates(settings: PortalSettings) -> Environment:
    """Our templates, and NHS.UK frontend's macros, which need undefined values to chain."""
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("imex.portal", "templates"), PackageLoader("nhsuk_frontend_jinja", "templates")]
        ),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        when=words.when,
        exact=words.exact,
        day=words.day,
        size=words.size,
        person_name=words.person_name,
        images=words.images,
        step_words=words.step_words,
    )
    environment.globals.update(
        STATES=words.STATES,
        FINAL_STATES=FINAL_STATES,
        step_mood=words.step_mood,
        traces_url=settings.traces_url.rstrip("/"),
        version=version("imex"),
    )
    return environment
