"""What is shown to nodes that are sent to over TLS, and who vouches for them; read anew when it changes."""

import ssl
from pathlib import Path

from imex.dimse.tls import client_context, stamps


class Certificates:
    """The requestor's side of PS3.15 annex B from files in PEM."""

    def __init__(
        self, ca: Path | None, certificate: Path | None, key: Path | None, *, check_host: bool = True
    ) -> None:
        """Nothing is read yet. Without `check_host` a certificate that `ca` vouches for may name any host."""
        self._ca = ca
        self._certificate = certificate
        self._key = key
        self._check_host = check_host
        self._read: dict[Path, tuple[int, int, int]] = {}
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """For the next association. Raises TlsFilesInvalid."""
        found = stamps(self._ca, self._certificate, self._key)
        if self._context is None or found != self._read:
            assert self._ca is not None
            context = client_context(self._ca, self._certificate, self._key)
            context.check_hostname = self._check_host
            self._context, self._read = context, found
        return self._context
