"""Real parts for tests: each on free ports with data of its own, stopped and deleted at the end.

with kafka_part(tmp_path) as kafka:
    kafka.bootstrap, kafka.username, kafka.password
    kafka.part.kill(); kafka.part.start()
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imex.local import kafka, minio, postgres
from imex.local.ports import free_ports
from imex.local.process import Part

_PASSWORD = "only-for-tests"  # noqa: S105


@dataclass(frozen=True)
class KafkaPart:
    """A running broker; `username` is the super user. `part` stops, kills, pauses and starts it."""

    part: Part
    bootstrap: str
    username: str
    password: str
    users: Mapping[str, str]


@contextmanager
def kafka_part(directory: Path, users: tuple[str, ...] = ()) -> Iterator[KafkaPart]:
    """A broker with SCRAM-SHA-512 on loopback, with `users` beside `admin` (all with the same password)."""
    port, controller = free_ports(2)
    passwords = dict.fromkeys((kafka.ADMIN, *users), _PASSWORD)
    config = kafka.KafkaConfig(
        data=directory / "kafka",
        log=directory / "kafka.log",
        port=port,
        controller_port=controller,
        users=passwords,
        heap_mb=256,
    )
    part = Part(kafka.prepare(config))
    part.start()
    try:
        yield KafkaPart(part, f"127.0.0.1:{port}", kafka.ADMIN, _PASSWORD, passwords)
    finally:
        part.kill()  # its data goes, and an orderly end can take half a minute
        shutil.rmtree(config.data, ignore_errors=True)


@dataclass(frozen=True)
class MinioPart:
    """A running MinIO with its root credentials."""

    part: Part
    endpoint: str
    access_key: str
    secret_key: str


@contextmanager
def minio_part(directory: Path) -> Iterator[MinioPart]:
    """A MinIO on loopback without any bucket."""
    (port,) = free_ports(1)
    config = minio.MinioConfig(
        directory / "minio", directory / "minio.log", port, "root-for-tests", _PASSWORD
    )
    part = Part(minio.prepare(config))
    part.start()
    try:
        yield MinioPart(part, f"http://127.0.0.1:{port}", config.root_user, config.root_password)
    finally:
        part.kill()  # its data goes, and an orderly end can take half a minute
        shutil.rmtree(config.data, ignore_errors=True)


@dataclass(frozen=True)
class PostgresPart:
    """A running PostgreSQL; `url` is the administrator's, of the database `postgres`."""

    part: Part
    url: str


@contextmanager
def postgres_part(directory: Path) -> Iterator[PostgresPart]:
    """An empty PostgreSQL server on loopback."""
    (port,) = free_ports(1)
    config = postgres.PostgresConfig(directory / "postgres", directory / "postgres.log", port, _PASSWORD)
    launch = postgres.prepare(config)
    part = Part(launch)
    part.start()
    try:
        yield PostgresPart(part, f"postgresql://{postgres.SUPERUSER}:{_PASSWORD}@127.0.0.1:{port}/postgres")
    finally:
        part.stop()
        shutil.rmtree(launch.cwd, ignore_errors=True)
