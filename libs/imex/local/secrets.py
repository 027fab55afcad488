"""The generated secrets of a local stack."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from imex.local.process import write_private

SERVICES = ("ingest", "validation", "routing", "delivery", "audit", "portal")
"""The six services in the order in which they are started."""


class S3User(BaseModel):
    """Credentials for the object store."""

    model_config = ConfigDict(frozen=True)

    access_key: str
    secret_key: str


class Secrets(BaseModel):
    """Everything a stack must not tell: made at the first start, kept in `secrets.json` (mode 0600)."""

    model_config = ConfigDict(frozen=True)

    kafka: Mapping[str, str]
    """Kafka user to password: `admin` and `imex-<service>`."""
    database: Mapping[str, str]
    """Service to the password of its role `imex_<service>`; `postgres` is the administrator."""
    s3: Mapping[str, S3User]
    """Service to its user; `root` is the administrator."""
    sealing_current: str
    sealing_keys: Mapping[str, str]
    """Key id to base64 of 32 bytes."""
    signing_key: str
    """base64 of the Ed25519 seed that receipts are signed with."""
    portal_secret: str
    admin_token: str
    account_passwords: Mapping[str, str]
    """The portal's accounts that are there before any directory: user name to password."""

    @property
    def stow(self) -> str:
        """What the portal and ingest share; derived, so that the secrets of an older stack have it too."""
        return hmac.digest(self.portal_secret.encode(), b"stow", "sha256").hex()


def load_or_make(path: Path) -> Secrets:
    """Read the secrets of a home, making them at the first call."""
    if path.exists():
        return Secrets.model_validate_json(path.read_text())
    made = _generate()
    write_private(path, made.model_dump_json(indent=1))
    return made


def _generate() -> Secrets:
    return Secrets(
        kafka={name: _word() for name in ("admin", *(f"imex-{service}" for service in SERVICES))},
        database={name: _word() for name in ("postgres", *SERVICES[1:])},
        s3={
            "root": S3User(access_key="imex-root", secret_key=_word()),
            **{name: S3User(access_key=f"imex-{name}", secret_key=_word()) for name in SERVICES},
        },
        sealing_current="k1",
        sealing_keys={"k1": _key()},
        signing_key=_key(),
        portal_secret=_word(),
        admin_token=_word(),
        account_passwords={"admin": _word()},
    )


def _word() -> str:
    """Letters and digits only: safe in URLs, property files and shells."""
    return secrets.token_hex(20)


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
