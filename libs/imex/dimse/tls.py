"""TLS as PS3.15 B.12 wants it: the BCP 195 (RFC 8996, RFC 9325) secure transport connection profile."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

CIPHERS: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "@SECLEVEL=2"
)
"""For TLS 1.2, in OpenSSL's words: what RFC 9325 4.2 recommends (and ChaCha20); TLS 1.3's are all AEAD.

Security level 2 refuses RSA keys below 2048 bits, curves below 224 and SHA-1 signatures.
"""


class TlsFilesInvalid(Exception):
    """A certificate, key or CA file cannot be used; the words name the file."""


def server_context(certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """For an acceptor: shows `certificate` (PEM, with its chain); every peer has to show one from `ca`.

    Sessions are not resumed: every association shows its certificate. Raises TlsFilesInvalid.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, certificate, key, ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
    return context


def client_context(ca: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """For a requestor: the acceptor's certificate must name its host and be vouched for by `ca`.

    `certificate` and `key` are shown where the acceptor asks. Raises TlsFilesInvalid.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, certificate, key, ca)


def stamps(*files: Path | None) -> dict[Path, tuple[int, int, int]]:
    """What tells that a file was changed or replaced; a file that is missing has no entry."""
    found = {}
    for path in files:
        if path is None:
            continue
        try:
            stat = path.stat()
        except OSError:
            continue
        found[path] = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
    return found


class WatchedContext:
    """A context from files that may be replaced: made anew for the next handshake after they were."""

    def __init__(self, make: Callable[[], ssl.SSLContext], *files: Path | None) -> None:
        """`make` makes it of `files`; it is called when the context is first asked for."""
        self._make = make
        self._files = files
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        """For a handshake that begins now; the former one while changed files do not fit together.

        Raises TlsFilesInvalid where there is no former one.
        """
        found = stamps(*self._files)
        if self._context is None:
            self._context, self._seen = self._make(), found
        elif found != self._seen:
            try:
                self._context = self._make()
            except TlsFilesInvalid as error:  # a change of several files is not made at once
                log.error("changed certificates cannot be used, the former ones stay: %s", error)
            else:
                self._seen = found
        return self._context


def _context(protocol: int, certificate: Path | None, key: Path | None, ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ValueError) as error:
        raise TlsFilesInvalid(f"CA file {ca}: {_words(error)}") from error
    if certificate is not None:
        try:
            # The callback answers for a key that is encrypted: OpenSSL would ask at the terminal.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise TlsFilesInvalid(f"certificate {certificate} with key {key}: {_words(error)}") from error
    return context


def _words(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
