"""First tokens and accounts: `python -m imex.portal.bootstrap < furnishing.json`.

Reads JSON from standard input, makes the database agree, and may be repeated as often as one likes:

    {"tokens":   [{"token": "…", "institution": "RQM", "role": "institution", "label": "local stack"}],
     "accounts": [{"username": "rqm-sender", "password": "…", "institution": "RQM", "role": "sender",
                   "display_name": "Hospital A"}]}

The database is the one of IMEX_DB_URL, as the portal's role.
"""

import asyncio
import sys
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from imex.db import Database
from imex.portal.auth import accounts, tokens
from imex.settings import DatabaseSettings


class TokenWanted(BaseModel):
    """A bearer token that is to work."""

    model_config = ConfigDict(extra="forbid")

    token: SecretStr = Field(min_length=16)
    institution: str | None = None
    role: Literal["admin", "institution"]
    label: str


class AccountWanted(BaseModel):
    """An account that is to exist."""

    model_config = ConfigDict(extra="forbid")

    username: str
    password: SecretStr = Field(min_length=8)
    institution: str | None = None
    role: Literal["admin", "sender", "viewer"]
    display_name: str


class Furnishing(BaseModel):
    """What is to be there."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    tokens: list[TokenWanted] = []
    accounts: list[AccountWanted] = []


async def ensure(database: Database, wanted: Furnishing) -> None:
    """All of `wanted` or, on an error, nothing of it."""
    async with database.unit() as unit:
        for one in wanted.tokens:
            await tokens.ensure(
                unit.connection, one.token.get_secret_value(), one.institution, one.role, one.label
            )
        for account in wanted.accounts:
            await accounts.ensure(
                unit.connection,
                account.username,
                account.password.get_secret_value(),
                institution=account.institution,
                role=account.role,
                display_name=account.display_name,
            )


def main() -> int:
    """Read standard input and make it so; 2 when it cannot be understood."""
    try:
        wanted = Furnishing.model_validate_json(sys.stdin.buffer.read())
        settings = DatabaseSettings()
    except ValidationError as error:
        print(f"imex.portal.bootstrap: {error}", file=sys.stderr)  # noqa: T201
        return 2

    async def run() -> None:
        database = Database(settings.url, "portal")
        try:
            await ensure(database, wanted)
        finally:
            await database.close()

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
