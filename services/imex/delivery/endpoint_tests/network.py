"""The way to a host: its name, a connection, TLS, and what its certificate says."""

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from imex.delivery.endpoint_tests.steps import Finding, failed, ok, skipped, warning
from imex.dimse.tls import TlsFilesInvalid, client_context
from imex.outbound import AddressDenied, Outbound

WARN_DAYS: Final = 30
_PROBES: Final = 3


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What deliveries over TLS are made with."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    check_host: bool = True

    def context(self, *, verify: bool = True) -> ssl.SSLContext:
        """As a delivery would use it, or one that looks at any certificate. Raises TlsFilesInvalid."""
        if self.ca is None:
            raise TlsFilesInvalid("IMEX_DELIVERY_TLS_CA is not set")
        context = client_context(self.ca, self.certificate, self.key)
        context.check_hostname = verify and self.check_host
        if not verify:
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(slots=True)
class Way:
    """One host that is being looked at."""

    host: str
    port: int
    tls: TlsFiles | None
    """None where the endpoint is not asked over TLS."""
    outbound: Outbound = field(default_factory=Outbound)
    """Where may be connected to."""
    certificate: x509.Certificate | None = field(default=None, repr=False)
    addresses: list[str] = field(default_factory=list)

    async def resolve(self) -> Finding:
        """The addresses of its name, and whether one may be connected to."""
        try:
            addresses = (await self.outbound.addresses(self.host, self.port))[:10]
        except AddressDenied as error:
            return failed(
                f"{self.host}: {error.strerror}",
                "Correct the host in the directory; where it is right, the network's administration decides.",
            )
        except socket.gaierror as error:
            return failed(
                f"the name {self.host} is not known: {error.strerror}",
                "Correct the host in the directory, or have the name added where Imex looks names up.",
            )
        except UnicodeError:
            return failed(f"{self.host} is no host name", "Correct the host in the directory.")
        self.addresses = addresses
        return ok(f"{self.host} is {', '.join(addresses)}", addresses=addresses)

    async def connect(self) -> Finding:
        """TCP, and how long it takes."""
        took = []
        for _ in range(_PROBES):
            begun = time.monotonic()
            try:
                writer = await self._open()
            except OSError as error:
                return self._unconnected(error)
            took.append((time.monotonic() - begun) * 1000)
            await _closed(writer)
        fastest = round(min(took), 1)
        return ok(f"connected to {self.host}:{self.port} in {fastest} ms", connect_ms=fastest)

    async def _open(self, tls: ssl.SSLContext | None = None) -> asyncio.StreamWriter:
        """A connection to what was found to be allowed, and not to what the name leads to by now."""
        self.addresses = self.addresses or await self.outbound.addresses(self.host, self.port)
        for address in self.addresses:
            try:
                _, writer = await asyncio.open_connection(
                    address, self.port, ssl=tls, server_hostname=self.host if tls is not None else None
                )
            except ssl.SSLError:
                raise
            except OSError:
                if address == self.addresses[-1]:
                    raise
            else:
                return writer
        raise ConnectionError("no address")

    def _unconnected(self, error: OSError) -> Finding:
        where = f"{self.host}:{self.port}"
        if isinstance(error, ConnectionRefusedError) or error.errno == errno.ECONNREFUSED:
            return failed(
                f"{where} refuses connections",
                "Nothing listens there, or a firewall refuses: check the port in the directory, and that the "
                "receiver runs and may be reached from Imex.",
            )
        return failed(
            f"no connection to {where}: {error.strerror or type(error).__name__}",
            "Check the route and the firewalls between Imex and the receiver.",
        )

    async def handshake(self) -> Finding:
        """TLS, whoever vouches for the certificate."""
        if self.tls is None:
            return skipped("the directory says that TLS is not used here")
        try:
            writer = await self._open(self.tls.context(verify=False))
        except TlsFilesInvalid as error:
            return failed(f"TLS cannot be used: {error}", "Have the network's administration correct it.")
        except (ssl.SSLError, ConnectionError) as error:
            return failed(
                f"no TLS: {_ssl_words(error)}",
                "Check that the receiver speaks TLS 1.2 or 1.3 on this port, with one of the ciphers of the "
                "BCP 195 profile (PS3.15 B.12), and whether it accepts Imex's certificate.",
            )
        secured = writer.get_extra_info("ssl_object")
        der = secured.getpeercert(binary_form=True)
        with contextlib.suppress(ValueError):
            self.certificate = x509.load_der_x509_certificate(der) if der else None
        version, cipher = secured.version(), secured.cipher()[0]
        await _closed(writer)
        return ok(f"{version} with {cipher}", version=version, cipher=cipher)

    async def vouched(self) -> Finding:
        """The certificate and its chain, as deliveries check them."""
        if self.tls is None:
            return skipped("without TLS there is no certificate")
        facts = _facts(self.certificate)
        try:
            writer = await self._open(self.tls.context())
        except ssl.SSLCertVerificationError as error:
            return failed(
                f"the certificate is not accepted: {error.verify_message}",
                "Have the receiver show a certificate that IMEX_DELIVERY_TLS_CA vouches for, with its whole "
                "chain, that names its host and has not expired.",
                **facts,
            )
        except (ssl.SSLError, OSError, TlsFilesInvalid) as error:
            return failed(
                f"no TLS: {_ssl_words(error)}", "Try again; the handshake before had worked.", **facts
            )
        await _closed(writer)
        days = facts.get("days")
        if isinstance(days, int) and days < WARN_DAYS:
            words = f"the certificate expires in {days} days"
            return warning(words, "Renew it before, or nothing is delivered any more.", **facts)
        return ok(f"vouched for; good for {days} more days", **facts)


def _facts(certificate: x509.Certificate | None) -> dict[str, Any]:
    if certificate is None:
        return {}
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        alternative = [str(one.value) for one in names][:10]
    except (x509.ExtensionNotFound, ValueError):
        alternative = []
    return {
        "subject": certificate.subject.rfc4514_string()[:200],
        "issuer": certificate.issuer.rfc4514_string()[:200],
        "names": alternative,
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "days": (certificate.not_valid_after_utc - datetime.now(UTC)).days,
    }


def _ssl_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or type(error).__name__).lower().replace("_", " ")
    if isinstance(error, OSError):
        return error.strerror or "the connection was closed"
    return str(error)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
