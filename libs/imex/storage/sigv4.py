"""AWS Signature Version 4, in headers, for S3."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
"""Instead of a body's digest: the body is covered by a checksum, and on an untrusted network by TLS."""
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()


class Signer:
    """Signs requests with one pair of keys; the derived key of a day is kept."""

    def __init__(self, access_key: str, secret_key: str, region: str, host: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._region = region
        self._host = host
        self._day = ""
        self._day_key = b""

    def headers(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        content_sha256: str,
        now: datetime | None = None,
    ) -> dict[str, str]:
        """``headers`` (lower-case names) completed with date, content digest, host and Authorization.

        ``path`` is percent-encoded already; ``content_sha256`` is the hex digest of the body.
        """
        moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        day = moment[:8]
        signed = dict(headers)
        signed["host"] = self._host
        signed["x-amz-content-sha256"] = content_sha256
        signed["x-amz-date"] = moment
        names = sorted(signed)
        listed = ";".join(names)
        lines = "".join(f"{name}:{signed[name].strip()}\n" for name in names)
        canonical = f"{method}\n{path}\n{encode_query(query)}\n{lines}\n{listed}\n{content_sha256}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
        signature = hmac.new(self._key(day), to_sign.encode(), hashlib.sha256).hexdigest()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, "
            f"SignedHeaders={listed}, Signature={signature}"
        )
        return signed

    def _key(self, day: str) -> bytes:
        if day != self._day:
            key = ("AWS4" + self._secret_key).encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.new(key, part.encode(), hashlib.sha256).digest()
            self._day, self._day_key = day, key
        return self._day_key


def encode_query(query: Mapping[str, str]) -> str:
    """The canonical query string: sorted, everything but unreserved characters percent-encoded."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))
