"""The state of a whole stack as one file: taken from an old release, put into a new home, and upgraded there.

Everything that a stack holds: the database's rows, every Kafka record with how far each group has read, the
objects of the store, and the secrets that belong to them. All of it is synthetic.

A state grows old: records beyond their retention would be deleted, and what has a deadline would miss it.
Restoring therefore moves every moment in the database and of the records by the time that has passed since;
the audit chain, whose hashes cover its moments, stays as it is.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from alembic import command
from psycopg import sql
from pydantic import SecretStr

from imex.db.migrate import config
from imex.db.schemas import SCHEMAS
from imex.local import layout
from imex.local.home import Home
from imex.local.process import Part
from imex.local.secrets import SERVICES, Secrets
from imex.runtime.kafka_client import connection
from imex.runtime.topics import connect_admin
from imex.settings import KafkaSettings, S3Settings
from imex.storage import MinioStore
from imex.storage.provision import ensure_buckets

_UNMOVED = frozenset({"audit"})
_BATCH_MS = 500


def capture(home: Home, path: Path, revision: str) -> None:
    """Write the state of a stack whose services stand still; `revision` is its database's."""
    state = {
        "taken_at": time.time(),
        "revision": revision,
        "secrets": home.secrets().model_dump(mode="json"),
        "tables": _read_tables(layout.admin_database_url(home)),
        "kafka": asyncio.run(_read_kafka(_kafka(home))),
        "objects": asyncio.run(_read_objects(_s3(home))),
    }
    path.write_bytes(gzip.compress(json.dumps(state).encode(), mtime=0))


def restore(home: Home, path: Path) -> None:
    """Put a state into a new home; afterwards its parts are stopped, as after `make down`."""
    state = json.loads(gzip.decompress(path.read_bytes()))
    home.root.mkdir(parents=True, exist_ok=True)
    secrets = Secrets.model_validate(state["secrets"])
    (home.root / "secrets.json").write_text(secrets.model_dump_json())
    (home.root / "secrets.json").chmod(0o600)
    home.choose_ports(SERVICES)
    passed_s = time.time() - state["taken_at"]
    with _parts(home):
        _write_tables(layout.admin_database_url(home), state["revision"], state["tables"], passed_s)
        ensure_buckets(_s3(home))
        asyncio.run(_write_objects(_s3(home), state["objects"]))
        asyncio.run(_write_kafka(_kafka(home), state["kafka"], int(passed_s * 1000)))


@contextmanager
def _parts(home: Home) -> Iterator[None]:
    with ExitStack() as started:
        for launch in layout.infrastructure(home):
            if launch.name != "zipkin":
                part = Part(launch)
                part.start()
                started.callback(part.stop)
        yield


def _kafka(home: Home) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap": f"127.0.0.1:{home.ports()['kafka']}",
            "username": "admin",
            "password": home.secrets().kafka["admin"],
        }
    )


def _s3(home: Home) -> S3Settings:
    root = home.secrets().s3["root"]
    return S3Settings.model_validate(
        {
            "endpoint": f"http://127.0.0.1:{home.ports()['minio']}",
            "access_key": root.access_key,
            "secret_key": root.secret_key,
            "bucket": layout.PAYLOADS,
            "directory_bucket": layout.DIRECTORY,
        }
    )


_TABLES = (
    "SELECT table_schema, table_name FROM information_schema.tables"
    " WHERE table_schema = ANY(%s) AND table_type = 'BASE TABLE' ORDER BY 1, 2"
)
_COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
    " AND is_generated = 'NEVER' ORDER BY ordinal_position"
)
_MOMENTS = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
    " AND data_type = 'timestamp with time zone'"
)
_SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences WHERE schemaname = ANY(%s)"


def _read_tables(url: str) -> dict[str, Any]:
    with psycopg.connect(url) as database:
        found = []
        for schema, table in database.execute(_TABLES, (list(SCHEMAS),)).fetchall():
            columns = [name for (name,) in database.execute(_COLUMNS, (schema, table))]
            copy = sql.SQL("COPY {} ({}) TO STDOUT").format(
                sql.Identifier(schema, table), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with database.cursor() as cursor, cursor.copy(copy) as rows:
                text = b"".join(bytes(block) for block in rows).decode()
            found.append({"schema": schema, "table": table, "columns": columns, "rows": text})
        sequences = database.execute(_SEQUENCES, (list(SCHEMAS),)).fetchall()
    return {"rows": found, "sequences": [list(row) for row in sequences if row[2] is not None]}


def _write_tables(url: str, revision: str, tables: dict[str, Any], passed_s: float) -> None:
    maintenance = url.rpartition("/")[0] + "/postgres"
    with psycopg.connect(maintenance, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(layout.DATABASE)))
    with psycopg.connect(url) as database:
        for schema in SCHEMAS:
            database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    command.upgrade(config(SecretStr(url)), revision)
    with psycopg.connect(url) as database:
        database.execute("SET session_replication_role = replica")  # rows come in the order of their names
        for one in tables["rows"]:
            table = sql.Identifier(one["schema"], one["table"])
            copy = sql.SQL("COPY {} ({}) FROM STDIN").format(
                table, sql.SQL(", ").join(map(sql.Identifier, one["columns"]))
            )
            with database.cursor() as cursor, cursor.copy(copy) as rows:
                rows.write(one["rows"])
            if one["schema"] not in _UNMOVED:
                for (moment,) in database.execute(_MOMENTS, (one["schema"], one["table"])).fetchall():
                    database.execute(
                        sql.SQL("UPDATE {} SET {column} = {column} + make_interval(secs => %s)").format(
                            table, column=sql.Identifier(moment)
                        ),
                        (passed_s,),
                    )
        for schema, name, value in tables["sequences"]:
            database.execute("SELECT setval(%s::regclass, %s)", (f"{schema}.{name}", value))


async def _read_kafka(settings: KafkaSettings) -> dict[str, Any]:
    admin = await connect_admin(settings)
    try:
        names = [name for name in await admin.list_topics() if not name.startswith("__")]
        described = await admin.describe_topics(names)
        partitions = {one["topic"]: len(one["partitions"]) for one in described}
        groups = {}
        for group, *_ in await admin.list_consumer_groups():
            offsets = await admin.list_consumer_group_offsets(group)
            groups[group] = [[at.topic, at.partition, known.offset] for at, known in offsets.items()]
    finally:
        await admin.close()
    records: list[list[Any]] = []
    reader = AIOKafkaConsumer(**connection(settings, "state"), enable_auto_commit=False)
    await reader.start()
    try:
        everything = [TopicPartition(name, n) for name, count in partitions.items() for n in range(count)]
        reader.assign(everything)
        await reader.seek_to_beginning()
        ends = await reader.end_offsets(everything)
        begins = await reader.beginning_offsets(everything)
        wanted = sum(ends.values()) - sum(begins.values())
        assert not any(begins.values()), "records were deleted already: the offsets could not be kept"
        while len(records) < wanted:
            for batch in (await reader.getmany(timeout_ms=_BATCH_MS)).values():
                records += [_written(record) for record in batch]
    finally:
        await reader.stop()
    return {"partitions": partitions, "groups": groups, "records": records}


def _written(record: Any) -> list[Any]:
    headers = [[name, _text(value)] for name, value in record.headers]
    key, value = _text(record.key), _text(record.value)
    return [record.topic, record.partition, record.offset, record.timestamp, key, value, headers]


async def _write_kafka(settings: KafkaSettings, kafka: dict[str, Any], passed_ms: int) -> None:
    admin = await connect_admin(settings)
    try:
        await admin.create_topics([NewTopic(name, count, 1) for name, count in kafka["partitions"].items()])
    finally:
        await admin.close()
    writer = AIOKafkaProducer(**connection(settings, "state"), acks="all", enable_idempotence=True)
    await writer.start()
    try:
        for topic, partition, offset, timestamp, key, value, headers in sorted(
            kafka["records"], key=lambda record: record[:3]
        ):
            said = await writer.send_and_wait(
                topic,
                _bytes(value),
                _bytes(key),
                partition=partition,
                timestamp_ms=timestamp + passed_ms,
                headers=[(name, _bytes(content)) for name, content in headers],
            )
            assert said.offset == offset, f"{topic}/{partition}: {said.offset} instead of {offset}"
    finally:
        await writer.stop()
    for group, offsets in kafka["groups"].items():
        await _commit(settings, group, offsets)


async def _commit(settings: KafkaSettings, group: str, offsets: list[list[Any]]) -> None:
    at = {TopicPartition(topic, partition): offset for topic, partition, offset in offsets if offset >= 0}
    if not at:
        return
    reader = AIOKafkaConsumer(**connection(settings, "state"), group_id=group, enable_auto_commit=False)
    await reader.start()
    try:
        reader.assign(list(at))
        await reader.commit(at)
    finally:
        await reader.stop()


async def _read_objects(settings: S3Settings) -> list[list[Any]]:
    found = []
    for bucket in (settings.bucket, settings.directory_bucket):
        store = MinioStore(settings, bucket)
        try:
            async for listed in store.list():
                known = await store.head(listed.key)
                data = base64.b64encode(await store.get(listed.key)).decode()
                found.append([bucket, listed.key, dict(known.metadata), data])
        finally:
            await store.close()
    return found


async def _write_objects(settings: S3Settings, objects: list[list[Any]]) -> None:
    for bucket, key, metadata, data in objects:
        store = MinioStore(settings, bucket)
        try:
            await store.put(key, base64.b64decode(data), metadata)
        finally:
            await store.close()


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else base64.b64decode(value)
