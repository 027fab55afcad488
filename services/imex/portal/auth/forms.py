"""Tokens that prove that a form came from a page of ours, and views that prove what was shown."""

import hmac
import secrets
from hashlib import sha256

from itsdangerous import BadSignature, URLSafeTimedSerializer

FIELD = "csrf"
VIEW_AGE_S = 12 * 3600


class FormTokens:
    """Signs with the portal's secret, bound to the browser that a page was made for."""

    def __init__(self, secret: str) -> None:
        """`secret` is the portal's own, the same in all its processes."""
        self._key = sha256(b"imex portal forms\0" + secret.encode()).digest()
        self._views = URLSafeTimedSerializer(secret, salt="imex portal views")

    @staticmethod
    def new_browser() -> str:
        """A random name for a browser, for its cookie."""
        return secrets.token_urlsafe(24)

    def issue(self, browser: str) -> str:
        """The token for forms shown to `browser`."""
        return hmac.new(self._key, browser.encode(), sha256).hexdigest()

    def valid(self, browser: str, token: str) -> bool:
        """Whether `token` is of a form that was shown to `browser`."""
        return bool(browser) and hmac.compare_digest(self.issue(browser).encode(), token.encode())

    def view(self, account: str, what: str) -> str:
        """A proof that `what` was shown to `account` with its audit record."""
        return self._views.dumps([account, what])

    def is_view(self, token: str, account: str, what: str) -> bool:
        """Whether `token` proves that `what` was shown to `account` not long ago."""
        try:
            return bool(self._views.loads(token, max_age=VIEW_AGE_S) == [account, what])
        except BadSignature:
            return False
