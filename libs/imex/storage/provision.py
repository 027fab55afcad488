"""Buckets, users and what each user may do: MinIO's administrative interface, used at set-up only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import urllib3
from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider

from imex.settings import S3Settings
from imex.storage.keys import INBOX_PREFIX, NOTES_PREFIX

_READ = ("s3:GetObject",)
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
_BUCKET = ("s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads")
_TIMEOUT_S = 10.0

PAYLOAD_ACTIONS: Mapping[str, Sequence[str]] = {
    "ingest": (*_READ, *_WRITE),
    "validation": (*_READ, "s3:DeleteObject"),
    "routing": (),
    "delivery": _READ,
    "audit": (),
    "portal": _READ,
}
"""What each service may do with payloads. Validation, which knows every one, deletes them on schedule."""

INBOX_ACTIONS: Mapping[str, Sequence[str]] = {"delivery": (*_WRITE, "s3:DeleteObject")}
"""What each service may do beside, with objects that are written for inboxes."""

NOTES_ACTIONS: Mapping[str, Sequence[str]] = {"routing": (*_WRITE, "s3:DeleteObject")}
"""The same with rejection notes."""

DIRECTORY_ACTIONS: Mapping[str, Sequence[str]] = {
    service: (*_READ, *_WRITE) if service == "portal" else _READ for service in PAYLOAD_ACTIONS
}
"""Every service reads the directory; the portal writes it."""

ADMIN_ACTIONS: Mapping[str, Sequence[str]] = {"ingest": ("admin:StorageInfo",)}
"""How full the store is (imex.storage.capacity)."""


class Credentials(Protocol):
    """A user of the object store."""

    @property
    def access_key(self) -> str:
        """The user's name."""

    @property
    def secret_key(self) -> str:
        """The user's password."""


def ensure_buckets(settings: S3Settings) -> None:
    """Create the buckets that are missing.

    Raises:
        minio.error.MinioException: the store refused.
        urllib3.exceptions.HTTPError: the store can not be reached.
    """
    client = Minio(
        endpoint=_host(settings),
        access_key=settings.access_key,
        secret_key=settings.secret_key.get_secret_value(),
        secure=_secure(settings),
        region=settings.region,
        http_client=_pool(),
    )
    for bucket in (settings.bucket, settings.directory_bucket):
        if not client.bucket_exists(bucket_name=bucket):
            client.make_bucket(bucket_name=bucket, location=settings.region)


def ensure_users(settings: S3Settings, users: Mapping[str, Credentials]) -> None:
    """Create each service's user, or set its secret, and bind it to its policy. Safe to repeat.

    Without users nothing is asked of the store: another implementation of S3 has ways of its own.

    Raises:
        minio.error.MinioAdminException: the store refused, or has no administrative interface of this kind.
    """
    if not users:
        return
    admin = MinioAdmin(
        endpoint=_host(settings),
        credentials=StaticProvider(settings.access_key, settings.secret_key.get_secret_value()),
        secure=_secure(settings),
        region=settings.region,
        http_client=_pool(),
    )
    for service, user in users.items():
        name = f"imex-{service}"
        admin.user_add(user.access_key, user.secret_key)
        admin.policy_add(name, policy=policy(service, settings))
        admin.policy_set(name, user=user.access_key)


def policy(service: str, settings: S3Settings) -> dict[str, Any]:
    """The policy document of one service; raises KeyError for a service that does not exist."""
    granted = {
        settings.bucket: PAYLOAD_ACTIONS[service],
        settings.directory_bucket: DIRECTORY_ACTIONS[service],
    }
    statements = []
    for bucket, actions in granted.items():
        if actions:
            statements.append(_allow(_BUCKET, f"arn:aws:s3:::{bucket}"))
            statements.append(_allow(actions, f"arn:aws:s3:::{bucket}/*"))
    if service in INBOX_ACTIONS:
        statements.append(_allow(INBOX_ACTIONS[service], f"arn:aws:s3:::{settings.bucket}/{INBOX_PREFIX}*"))
    if service in NOTES_ACTIONS:
        statements.append(_allow(NOTES_ACTIONS[service], f"arn:aws:s3:::{settings.bucket}/{NOTES_PREFIX}*"))
    if service in ADMIN_ACTIONS:
        statements.append(_allow(ADMIN_ACTIONS[service], "arn:aws:s3:::*"))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": [resource]}


def _pool() -> urllib3.PoolManager:
    # 503: a store that has just started. Everything asked here may be asked twice.
    again = urllib3.Retry(total=5, backoff_factor=0.2, status_forcelist=[503], allowed_methods=None)
    return urllib3.PoolManager(timeout=_TIMEOUT_S, retries=again)


def _host(settings: S3Settings) -> str:
    return urlsplit(settings.endpoint).netloc


def _secure(settings: S3Settings) -> bool:
    return urlsplit(settings.endpoint).scheme == "https"
