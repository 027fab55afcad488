"""The launchers by themselves: each part starts, ends as if crashed, and starts again on its data."""

import uuid
from pathlib import Path

import psycopg
import pytest
from minio import Minio, S3Error
from pydantic import BaseModel, SecretStr

from imex.settings import S3Settings
from imex.storage.provision import ensure_buckets, ensure_users
from imex.testing.parts import kafka_part, minio_part, postgres_part

SECRET = "only-for-tests"
DENIED = r"AccessDenied|Access Denied"


class User(BaseModel):
    access_key: str
    secret_key: str


def test_postgres_keeps_its_data_through_a_crash(tmp_path: Path) -> None:
    with postgres_part(tmp_path) as postgres:
        with psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS value")

        postgres.part.kill()
        postgres.part.start()

        with psycopg.connect(postgres.url) as connection:
            assert connection.execute("SELECT value FROM kept").fetchone() == (7,)


def test_a_service_may_do_with_objects_what_its_policy_says_and_no_more(tmp_path: Path) -> None:
    source = tmp_path / "payload"
    source.write_bytes(b"payload")
    with minio_part(tmp_path) as minio:
        settings = S3Settings(
            endpoint=minio.endpoint, access_key=minio.access_key, secret_key=SecretStr(minio.secret_key)
        )
        users = {
            name: User(access_key=f"imex-{name}", secret_key="s" * 20) for name in ("ingest", "delivery")
        }
        for _ in range(2):
            ensure_buckets(settings)
            ensure_users(settings, users)
        ingest, delivery = (
            Minio(endpoint=minio.endpoint.removeprefix("http://"), access_key=user.access_key,
                  secret_key=user.secret_key, secure=False, region=settings.region)
            for user in users.values()
        )  # fmt: skip

        ingest.fput_object(bucket_name="payloads", object_name="a", file_path=str(source))

        assert delivery.get_object(bucket_name="payloads", object_name="a").read() == b"payload"
        with pytest.raises(S3Error, match=DENIED):
            delivery.fput_object(bucket_name="payloads", object_name="b", file_path=str(source))
        with pytest.raises(S3Error, match=DENIED):
            ingest.fput_object(bucket_name="directory", object_name="b", file_path=str(source))
        with pytest.raises(S3Error, match=DENIED):
            ingest.remove_object(bucket_name="payloads", object_name="a")


def test_a_cluster_id_that_begins_with_a_dash_is_no_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imex.local.kafka.uuid.uuid4", lambda: uuid.UUID(bytes=b"\xf8" + bytes(15)))
    with kafka_part(tmp_path) as part:
        assert part.bootstrap
