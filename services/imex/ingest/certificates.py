"""The TLS port's certificates: loaded, watched for changes and for their end, replaced without a restart."""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509

from imex.dimse.tls import TlsFilesInvalid, server_context, stamps
from imex.directory.certificates import CertificateFacts
from imex.ingest.meters import CertificateMeters
from imex.runtime.backoff import ended
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


class Reminders:
    """Which certificates are to be warned of now: near their end, and not warned of for a day."""

    def __init__(self) -> None:
        self._last: dict[str, datetime] = {}

    def due(self, which: str, left: timedelta, now: datetime) -> bool:
        """Whether to warn of one that is good for as long as `left`; then it has been warned of."""
        last = self._last.get(which)
        if left > WARN_BEFORE or (last is not None and now - last < _REMIND):
            return False
        self._last[which] = now
        return True

    def forget(self) -> None:
        """They are other certificates now."""
        self._last.clear()


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
        self._reminders = Reminders()
        self._problem = ""
        self._seen = stamps(files.certificate, files.key, files.ca)
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
            await ended(self._watching)

    def health(self) -> Health:
        """Degraded where changed files could not be taken up; the former ones are in use then."""
        return Health(detail=self._problem)

    def look(self) -> None:
        """Take up changed files, and warn of certificates near their end."""
        found = stamps(self._files.certificate, self._files.key, self._files.ca)
        if found != self._seen:
            self._seen = found
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
        self._reminders.forget()

    def _judge_ends(self) -> None:
        now = self._now()
        for which, end in self._ends.items():
            left = end - now
            self._meters.expires(which, left.total_seconds())
            if self._reminders.due(which, left, now):
                said = log.error if left < timedelta(0) else log.warning
                said("certificate expires", certificate=which, at=end.isoformat(), days_left=left.days)


class SenderCertificates:
    """Tells of senders' certificates that are near their end; they are seen when they are used."""

    def __init__(self, meters: CertificateMeters, now: Callable[[], datetime]) -> None:
        self._meters = meters
        self._now = now
        self._reminders = Reminders()

    def shown(self, institution: str, certificate: CertificateFacts) -> None:
        """An institution has begun an association with it."""
        if certificate.ends is None:
            return
        now = self._now()
        left = certificate.ends - now
        self._meters.sender_expires(institution, left.total_seconds())
        if self._reminders.due(institution, left, now):
            log.warning(
                "a sender's certificate expires",
                institution=institution,
                certificate=f"sha256:{certificate.fingerprint}",
                at=certificate.ends.isoformat(),
                days_left=left.days,
            )


def _end(pem: Path) -> datetime:
    """When the first of the certificates in a file ends. Raises TlsFilesInvalid."""
    try:
        return min(_ends(x509.load_pem_x509_certificates(pem.read_bytes())))
    except (OSError, ValueError) as error:
        raise TlsFilesInvalid(f"{pem}: no certificate in it that can be read") from error


def _ends(certificates: Iterable[x509.Certificate]) -> Iterable[datetime]:
    return (certificate.not_valid_after_utc for certificate in certificates)
