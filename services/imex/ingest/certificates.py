"""The TLS port's certificates: loaded, watched for changes and for their end, replaced without a restart."""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509

from imex.dimse.tls import TlsFilesInvalid, server_context
from imex.directory.certificates import CertificateFacts
from imex.ingest.meters import CertificateMeters
from imex.runtime.health import Health

log = structlog.get_logger(__name__)

WARN_BEFORE = timedelta(days=30)
_REMIND = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of PEM files: the chain that is shown, its key, the CAs that vouch for senders."""

    certificate: Path
    key: Path
    ca: Path


class Certificates:
    """The context for new handshakes. A change of the files is taken up once they fit together.

    Associations that are under way keep the context that they began with.
    """

    name = "certificates"

    def __init__(
        self,
        files: Files,
        meters: CertificateMeters,
        every_s: float,
        now: Callable[[], datetime],
    ) -> None:
        """Load them. Raises TlsFilesInvalid."""
        self._files = files
        self._meters = meters
        self._every_s = every_s
        self._now = now
        self._reminded: dict[str, datetime] = {}
        self._problem = ""
        self._seen = _stamps(files)
        self._watching: asyncio.Task[None] | None = None
        self._ends: dict[str, datetime] = {}
        self._load()

    def context(self) -> ssl.SSLContext:
        """For a handshake that begins now."""
        return self._context

    async def start(self) -> None:
        """Begin to watch the files."""
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def health(self) -> Health:
        """Degraded where changed files could not be taken up; the former ones are in use then."""
        return Health(detail=self._problem)

    def look(self) -> None:
        """Take up changed files, and warn of certificates near their end."""
        stamps = _stamps(self._files)
        if stamps != self._seen:
            self._seen = stamps
            try:
                self._load()
            except TlsFilesInvalid as error:
                self._problem = f"changed certificates are not in use: {error}"
                log.error("changed certificates cannot be used, the former ones stay", reason=str(error))
                self._seen = {}  # looked at again: a change of several files is not made at once
            else:
                log.info("certificates changed, new handshakes use them")
        self._judge_ends()

    async def _watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(self._every_s)

    def _load(self) -> None:
        files = self._files
        context = server_context(files.certificate, files.key, files.ca)
        ends = {"server": _end(files.certificate), "ca": _end(files.ca)}
        self._context, self._ends, self._problem = context, ends, ""
        self._reminded.clear()

    def _judge_ends(self) -> None:
        now = self._now()
        for which, end in self._ends.items():
            left = end - now
            self._meters.expires(which, left.total_seconds())
            reminded = self._reminded.get(which)
            if left > WARN_BEFORE or (reminded is not None and now - reminded < _REMIND):
                continue
            self._reminded[which] = now
            said = log.error if left < timedelta(0) else log.warning
            said("certificate expires", certificate=which, at=end.isoformat(), days_left=left.days)


class SenderCertificates:
    """Tells of senders' certificates that are near their end; they are seen when they are used."""

    def __init__(self, meters: CertificateMeters, now: Callable[[], datetime]) -> None:
        self._meters = meters
        self._now = now
        self._reminded: dict[str, datetime] = {}

    def shown(self, institution: str, certificate: CertificateFacts) -> None:
        """An institution has begun an association with it."""
        if certificate.ends is None:
            return
        now = self._now()
        left = certificate.ends - now
        self._meters.sender_expires(institution, left.total_seconds())
        reminded = self._reminded.get(institution)
        if left > WARN_BEFORE or (reminded is not None and now - reminded < _REMIND):
            return
        self._reminded[institution] = now
        log.warning(
            "a sender's certificate expires",
            institution=institution,
            certificate=f"sha256:{certificate.fingerprint}",
            at=certificate.ends.isoformat(),
            days_left=left.days,
        )


def _stamps(files: Files) -> dict[Path, tuple[int, int, int]]:
    """What tells that a file was changed or replaced; a file that is missing has no entry."""
    found = {}
    for path in (files.certificate, files.key, files.ca):
        try:
            stat = path.stat()
        except OSError:
            continue
        found[path] = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
    return found


def _end(pem: Path) -> datetime:
    """When the first of the certificates in a file ends. Raises TlsFilesInvalid."""
    try:
        return min(_ends(x509.load_pem_x509_certificates(pem.read_bytes())))
    except (OSError, ValueError) as error:
        raise TlsFilesInvalid(f"{pem}: no certificate in it that can be read") from error


def _ends(certificates: Iterable[x509.Certificate]) -> Iterable[datetime]:
    return (certificate.not_valid_after_utc for certificate in certificates)
