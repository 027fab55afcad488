"""What every Kafka client of ours has in common."""

import ssl
from typing import Any

from imex.settings import KafkaSettings

REQUEST_TIMEOUT_MS = 15_000


def connection(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """aiokafka's arguments for reaching the broker as `settings` say.

    Raises:
        OSError: the CA file cannot be read.
    """
    secured = "SASL" if settings.username else ""
    encrypted = "SSL" if settings.tls_ca else "PLAINTEXT"
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "client_id": client_id,
        "security_protocol": f"{secured}_{encrypted}" if secured else encrypted,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "metadata_max_age_ms": 60_000,
    }
    if settings.username:
        arguments |= {
            "sasl_mechanism": settings.mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.password.get_secret_value(),
        }
    if settings.tls_ca:
        arguments["ssl_context"] = ssl.create_default_context(cafile=settings.tls_ca)
    return arguments
