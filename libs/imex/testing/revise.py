"""Write the next migration: `python -m imex.testing.revise "what changes"`.

Compares the tables in `imex.db.tables` with what the migrations so far make of an empty database, on a
server of its own, and writes the difference as a new revision, to be read before it is committed. Before
the first release `--first` writes the first revisions anew, one for each schema, instead: only for
databases that hold nothing of worth.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config

from imex.db.migrate import config, upgrade
from imex.db.schemas import SCHEMAS
from imex.testing.parts import postgres_part

_VERSIONS = Path(__file__).parents[1] / "db" / "migrations" / "versions"


def revise(message: str) -> None:
    """Write one revision for what has changed in any schema."""
    with tempfile.TemporaryDirectory() as directory, postgres_part(Path(directory)) as server:
        upgrade(server.url, {})
        _write(config(server.url), len(list(_VERSIONS.glob("*.py"))) + 1, message)
    _tidy()


def begin() -> None:
    """Write the first revisions anew, one for each schema."""
    _VERSIONS.mkdir(exist_ok=True)
    for old in _VERSIONS.glob("*.py"):
        old.unlink()
    with tempfile.TemporaryDirectory() as directory, postgres_part(Path(directory)) as server:
        with psycopg.connect(server.url) as connection:
            for schema in SCHEMAS:
                connection.execute(f"CREATE SCHEMA {schema}".encode())
        for number, schema in enumerate(SCHEMAS, start=1):
            settings = config(server.url)
            settings.attributes["schemas"] = (schema,)
            _write(settings, number, f"tables of {schema}")
            command.upgrade(settings, "head")
    _tidy()


def _write(settings: Config, number: int, message: str) -> None:
    command.revision(settings, message, autogenerate=True, rev_id=f"{number:04d}")


def _tidy() -> None:
    for path in _VERSIONS.glob("*.py"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.lstrip().startswith("# ### ")))
    ruff = str(Path(sys.executable).with_name("ruff"))
    for arguments in (("check", "--fix", "--exit-zero", "--quiet"), ("format", "--quiet")):
        subprocess.run([ruff, *arguments, str(_VERSIONS)], check=True)


if __name__ == "__main__":
    if "--first" in sys.argv:
        begin()
    elif len(sys.argv) == 2:
        revise(sys.argv[1])
    else:
        sys.exit('usage: python -m imex.testing.revise "what changes" | --first')
