"""Access tokens: OAuth 2.0, the client credentials grant (RFC 6749 section 4.4)."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote_plus, urlencode

from imex.delivery.targets import CannotDeliver
from imex.delivery.targets.dicomweb.web import Answered, Web
from imex.directory.policies import ClientCredentials

_EARLY_S: Final = 30.0
"""A token is renewed so long before it expires."""
_DEFAULT_S: Final = 300.0
_LONGEST_S: Final = 86_400.0
_MOST_TOKEN_CHARS: Final = 16_384
_ERRORS: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
"""RFC 6749 section 5.2: any other word is the server's own, and may say anything."""

Secrets = Callable[[str], str | None]
"""From a secret's name to the secret; None where there is none of that name."""


@dataclass(slots=True)
class _Kept:
    token: str = ""
    until: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Tokens:
    """Tokens of one process, each kept until shortly before it expires."""

    def __init__(self, web: Web, secrets: Secrets) -> None:
        """None is asked for yet."""
        self._web = web
        self._secrets = secrets
        self._kept: dict[ClientCredentials, _Kept] = {}

    async def of(self, asked: ClientCredentials) -> str:
        """A token that should be good.

        Raises:
            CannotDeliver: there is none; the words hold neither secret nor token.
        """
        kept = self._kept.setdefault(asked, _Kept())
        async with kept.asking:  # one question for all who wait
            loop = asyncio.get_running_loop()
            if loop.time() >= kept.until:
                kept.token, seconds = await self._ask(asked)
                kept.until = loop.time() + max(seconds - _EARLY_S, seconds / 2)
            return kept.token

    def forget(self, asked: ClientCredentials, token: str) -> None:
        """A server has refused it: the next question is for another."""
        kept = self._kept.get(asked)
        if kept is not None and kept.token == token:
            kept.until = 0.0

    async def _ask(self, asked: ClientCredentials) -> tuple[str, float]:
        secret = self._secrets(asked.secret)
        if secret is None:
            raise CannotDeliver(
                f"delivery has no secret named {asked.secret}: set it in IMEX_DELIVERY_SECRETS, or as a file "
                "in IMEX_DELIVERY_SECRETS_DIR",
                lasting=True,
            )
        form = {"grant_type": "client_credentials", **({"scope": asked.scope} if asked.scope else {})}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if asked.client_authentication == "basic":
            headers["Authorization"] = "Basic " + _basic(asked.client_id, secret)
        else:
            form |= {"client_id": asked.client_id, "client_secret": secret}
        try:
            answered = await self._web.ask("POST", asked.token_url, headers, urlencode(form).encode())
        except CannotDeliver as error:
            raise CannotDeliver(f"no access token: {error}") from None
        return _token(answered)


def _basic(client_id: str, secret: str) -> str:
    """RFC 6749 section 2.3.1: each is form-encoded first."""
    return base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


def _token(answered: Answered) -> tuple[str, float]:
    try:
        told = json.loads(answered.body)
    except (ValueError, RecursionError):
        told = None
    found = told if isinstance(told, dict) else {}
    if answered.status != 200:
        error = found.get("error")
        named = f" ({error})" if isinstance(error, str) and error in _ERRORS else ""
        raise CannotDeliver(
            f"no access token: the token endpoint answered {answered.status}{named}",
            lasting=answered.status in {400, 401, 403, 404},
            again_after=answered.again_after,
        )
    token = found.get("access_token")
    if not isinstance(token, str) or not 0 < len(token) <= _MOST_TOKEN_CHARS or not _is_header(token):
        raise CannotDeliver("no access token: the token endpoint answered without one", lasting=True)
    if str(found.get("token_type", "bearer")).lower() != "bearer":
        raise CannotDeliver("no access token: the token endpoint gives no bearer tokens", lasting=True)
    seconds = found.get("expires_in")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0:
        seconds = _DEFAULT_S
    return token, min(float(seconds), _LONGEST_S)


def _is_header(token: str) -> bool:
    return all("!" <= character <= "~" for character in token)
