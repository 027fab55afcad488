"""Settings groups shared by the services."""

from imex.settings.groups import (
    DatabaseSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    S3Settings,
    SealingSettings,
    TracesSettings,
    decoded_key,
)

__all__ = [
    "DatabaseSettings",
    "HttpSettings",
    "KafkaSettings",
    "LogSettings",
    "S3Settings",
    "SealingSettings",
    "TracesSettings",
    "decoded_key",
]
