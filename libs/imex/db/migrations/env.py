"""Alembic's environment: one tree of migrations over every schema."""

from typing import Any

from alembic import context
from sqlalchemy import create_engine, pool

from imex.db.schemas import SCHEMAS, metadata_of


def _run() -> None:
    # a revision may be asked for some schemas only; an upgrade is always for all of them
    schemas = context.config.attributes.get("schemas", SCHEMAS)

    def ours(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "schema" or name in schemas

    url = context.config.get_main_option("sqlalchemy.url")
    if url is None:
        raise RuntimeError("run migrations through imex.db.migrate, which knows the database")
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=[metadata_of(schema) for schema in schemas],
            include_schemas=True,
            include_name=ours,
        )
        with context.begin_transaction():
            context.run_migrations()


_run()
