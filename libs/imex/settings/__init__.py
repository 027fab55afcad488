"""Settings groups shared by the services."""

from imex.settings.dicom import DicomPortSettings, TcpPort
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
from imex.settings.outbound import OutboundSettings

__all__ = [
    "DatabaseSettings",
    "DicomPortSettings",
    "HttpSettings",
    "InstanceSettings",
    "KafkaSettings",
    "LogSettings",
    "OutboundSettings",
    "S3Settings",
    "SealingSettings",
    "TcpPort",
    "TracesSettings",
    "decoded_key",
]
