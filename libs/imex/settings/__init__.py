"""Settings groups shared by the services."""

from imex.settings.groups import (
    DatabaseSettings,
    HttpSettings,
    InstanceSettings,
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
    "InstanceSettings",
    "KafkaSettings",
    "LogSettings",
    "S3Settings",
    "SealingSettings",
    "TracesSettings",
    "decoded_key",
]
