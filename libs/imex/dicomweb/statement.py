"""How who hands on vouches to ingest for who sends: a short-lived signed statement on one request (RFC 7519).

Ingest has no database and knows no tokens; whoever has the shared secret is believed about the institution,
once for each statement.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

_ISSUER: Final = "imex-portal"
_AUDIENCE: Final = "imex-ingest"
_ALGORITHM: Final = "HS256"
GOOD_FOR_S: Final = 30
_CLOCKS_S: Final = 5
_MOST_REMEMBERED: Final = 100_000
LEAST_SECRET_CHARS: Final = 32


class StatementRefused(Exception):
    """The statement is not of the portal, not for this request, too old, or was used before."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Who sends, by which token, and what: the study of the path (empty: any) and the Content-Type."""

    institution: str
    token: str
    study: str
    content_type: str
    retrieved: bool = False
    """Nobody sends it: Imex has fetched it from an archive of the institution."""


def sign(statement: Statement, secret: str, now: float) -> str:
    """The statement for one request; `now` in seconds since 1970."""
    claims = {
        "iss": _ISSUER,
        "aud": _AUDIENCE,
        "sub": statement.institution,
        "jti": uuid4().hex,
        "iat": int(now),
        "exp": int(now) + GOOD_FOR_S,
        "token": statement.token,
        "study": statement.study,
        "content_type": statement.content_type,
        "retrieved": statement.retrieved,
    }
    return jwt.encode({"alg": _ALGORITHM}, claims, OctKey.import_key(secret), algorithms=[_ALGORITHM])


class StatementReader:
    """Believes each statement once; what it remembers is bounded by how long a statement is good for."""

    def __init__(self, secret: str) -> None:
        self._key = OctKey.import_key(secret)
        self._used: OrderedDict[str, int] = OrderedDict()

    def read(self, encoded: str, study: str, content_type: str, now: float) -> Statement:
        """The statement that came with a request about `study` with that Content-Type.

        Raises:
            StatementRefused: see there.
        """
        try:
            claims = jwt.decode(encoded, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise StatementRefused("it is not signed with the shared secret") from error
        if claims.get("iss") != _ISSUER or claims.get("aud") != _AUDIENCE:
            raise StatementRefused("it is meant for somebody else")
        issued, expires, name = claims.get("iat"), claims.get("exp"), claims.get("jti")
        if not (isinstance(issued, int) and isinstance(expires, int) and isinstance(name, str)):
            raise StatementRefused("it is not complete")
        if not issued - _CLOCKS_S <= now <= expires + _CLOCKS_S:
            raise StatementRefused("it is too old, or the clocks differ")
        sender, token, of, kind = (
            str(claims.get(key, "")) for key in ("sub", "token", "study", "content_type")
        )
        found = Statement(sender, token, of, kind, retrieved=claims.get("retrieved") is True)
        if (found.study, found.content_type) != (study, content_type) or not found.institution:
            raise StatementRefused("it is about another request")
        self._use(name, expires, now)
        return found

    def _use(self, name: str, expires: int, now: float) -> None:
        while self._used and next(iter(self._used.values())) + _CLOCKS_S < now:
            self._used.popitem(last=False)
        if name in self._used or len(self._used) >= _MOST_REMEMBERED:
            raise StatementRefused("it was used before")
        self._used[name] = expires
