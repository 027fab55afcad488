"""The schemas and whose they are."""

from importlib import import_module

from sqlalchemy import MetaData

SCHEMAS = ("directory", "validation", "routing", "delivery", "audit", "portal")

OWNED: dict[str, tuple[str, ...]] = {
    "validation": ("validation",),
    "routing": ("routing",),
    "delivery": ("delivery",),
    "audit": ("audit",),
    "portal": ("portal", "directory"),
}
"""Which schemas a service's role may write. Ingest has no database."""

READER = "portal"
"""The one service whose role may read every schema: it shows people what the others know."""


def metadata_of(schema: str) -> MetaData:
    """The tables of one schema, from `imex.db.tables.<schema>`."""
    found = import_module(f"imex.db.tables.{schema}").metadata
    assert isinstance(found, MetaData)
    return found


def all_metadata() -> list[MetaData]:
    """The tables of every schema."""
    return [metadata_of(schema) for schema in SCHEMAS]
