"""Tokens, accounts and certificates of a local stack, for every institution of the directory in force."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from imex.local.home import Home
from imex.local.layout import admin_database_url


@dataclass(frozen=True)
class Member:
    """What an institution gets: its code, and whether it sends."""

    code: str
    sends: bool

    @property
    def account(self) -> str:
        """The user name of its account."""
        return f"{self.code.lower()}-{self.role}"

    @property
    def role(self) -> str:
        """What its account may do."""
        return "sender" if self.sends else "viewer"


def refresh(home: Home) -> None:
    """Bring `tokens`, `accounts` and `tls` of `stack.json` up to date with the directory in force.

    `imex directory apply` calls it on a local stack. Values are derived from the stack's secret, and
    certificates are kept: an institution that comes back has the token and the certificate it had.

    Raises:
        psycopg.OperationalError: the stack's database can not be reached.
    """
    secret = home.secrets().portal_secret
    with psycopg.connect(admin_database_url(home), connect_timeout=10) as connection:
        found = members(connection)
        tokens = {member.code: derived(secret, "token", member.code) for member in found}
        accounts = {member.account: derived(secret, "account", member.account) for member in found}
        _store_tokens(connection, tokens)
        _store_accounts(connection, found, accounts)

    senders = home.certificates.clients(member.code for member in found if member.sends)

    def put(stack: dict[str, Any]) -> None:
        fixed = home.secrets()
        stack["tokens"] = {"admin": fixed.admin_token, **tokens}
        stack["accounts"] = {**fixed.account_passwords, **accounts}
        stack["tls"] = {
            "ca": str(home.certificates.ca),
            "client_cert": {code: str(pair.certificate) for code, pair in senders.items()},
            "client_key": {code: str(pair.key) for code, pair in senders.items()},
        }

    home.update_stack(put)


def members(connection: psycopg.Connection[Any]) -> list[Member]:
    """The institutions of the directory in force; none before the first one was applied."""
    row = connection.execute(
        "SELECT document FROM directory.versions ORDER BY number DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return []
    institutions = json.loads(row[0]).get("institutions", [])
    return [Member(each["code"], bool(each.get("senders"))) for each in institutions]


def derived(secret: str, kind: str, name: str) -> str:
    """A value with 256 bits that only this stack has."""
    mac = hmac.digest(secret.encode(), f"{kind}/{name}".encode(), "sha256")
    return "imex_" + base64.urlsafe_b64encode(mac).decode().rstrip("=")


def _store_tokens(connection: psycopg.Connection[Any], tokens: Mapping[str, str]) -> None:
    connection.cursor().executemany(
        "INSERT INTO portal.tokens (id, hash, institution, role, label)"
        " VALUES (%s, %s, %s, 'institution', 'local stack') ON CONFLICT (hash) DO NOTHING",
        [(uuid4(), hashlib.sha256(token.encode()).digest(), code) for code, token in tokens.items()],
    )


def _store_accounts(
    connection: psycopg.Connection[Any], found: Iterable[Member], accounts: Mapping[str, str]
) -> None:
    known = {row[0] for row in connection.execute("SELECT username FROM portal.accounts")}
    # these passwords have 256 random bits: to make guessing slow would only make a large directory slow
    hasher = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    connection.cursor().executemany(
        "INSERT INTO portal.accounts (id, username, display_name, password_hash, institution, role)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (username) DO NOTHING",
        [
            (
                uuid4(),
                member.account,
                f"{member.code} {member.role}",
                hasher.hash(accounts[member.account]),
                member.code,
                member.role,
            )
            for member in found
            if member.account not in known
        ],
    )
