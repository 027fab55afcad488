"""Alembic's environment: one tree of migrations over every schema."""

from typing import Any

from alembic import context
from sqlalchemy import create_engine, pool

from imex.db.schemas import SCHEMAS, all_metadata


def _ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "schema" or name in SCHEMAS


def _run() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    if url is None:
        raise RuntimeError("run migrations through imex.db.migrate, which knows the database")
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=all_metadata(),
            include_schemas=True,
            include_name=_ours,
        )
        with context.begin_transaction():
            context.run_migrations()


_run()
