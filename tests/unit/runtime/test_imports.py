"""A service imports what it uses: ingest has no database, and carries none in its memory."""

import subprocess
import sys

HEAVY = {"sqlalchemy", "psycopg", "numpy", "pydicom", "pynetdicom", "fastapi"}


def test_ingest_loads_neither_a_database_nor_a_toolkit() -> None:
    program = "import imex.ingest.__main__, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not HEAVY & set(done.stdout.split())


def test_what_is_imported_on_demand_is_there() -> None:
    from imex import runtime

    assert all(hasattr(runtime, name) for name in runtime.__all__)
    assert not hasattr(runtime, "Consumers")
