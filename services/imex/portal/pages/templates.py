"""The Jinja environment of the pages."""

from jinja2 import ChainableUndefined, ChoiceLoader, Environment, PackageLoader

from imex.portal.settings import PortalSettings


def templates(settings: PortalSettings) -> Environment:
    """Our templates, and NHS.UK frontend's macros, which need undefined values to chain."""
    return Environment(
        loader=ChoiceLoader(
            [PackageLoader("imex.portal", "templates"), PackageLoader("nhsuk_frontend_jinja", "templates")]
        ),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
