"""What a stack consists of: the parts, their order, and the environment of each service."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from imex.local import kafka, objects, postgres, zipkin
from imex.local.home import Home
from imex.local.plan import Stage, Task
from imex.local.process import Launch, Probe
from imex.local.processes import names_of, service_of, wanted
from imex.local.secrets import SERVICES

_LOOPBACK = "127.0.0.1"
_COMMAND = str(Path(sys.executable).with_name("imex"))
AE_TITLE = "IMEX"
DATABASE = "imex"
PAYLOADS = "payloads"
DIRECTORY = "directory"
QUIET_S = 5
ASSOCIATION_GRACE_S = 15
RETENTION_EVERY_S = 3
"""How long a routine study must be quiet on a local stack before it counts as complete."""
DRAIN_S = 10.0
"""What ingest leaves to associations at a stop before it aborts them."""
_AFTER_DRAIN_S = 10.0
WATERMARK = 0.97
"""The disk is a workstation's, which others fill."""


def fetch(home: Home) -> None:
    """Have everything that must be downloaded or built; quick when it is there."""
    kafka.class_archive()
    objects.fetch(home)
    zipkin.jar()
    postgres.binaries()


def infrastructure(home: Home) -> list[Launch]:
    """Kafka, MinIO, PostgreSQL and Zipkin, their data directories prepared."""
    at, secrets = home.ports(), home.secrets()
    return [
        postgres.prepare(
            postgres.PostgresConfig(
                home.data / "postgres", home.log("postgres"), at["postgres"], secrets.database["postgres"]
            )
        ),
        objects.prepare(home, _seaweed_grants()),
        kafka.prepare(
            kafka.KafkaConfig(
                home.data / "kafka", home.log("kafka"), at["kafka"], at["kafka_controller"], secrets.kafka
            )
        ),
        zipkin.prepare(zipkin.ZipkinConfig(home.data / "zipkin", home.log("zipkin"), at["zipkin"])),
    ]


def _seaweed_grants() -> dict[str, list[str]]:
    """SeaweedFS's actions for what MinIO's policies say; only that its `Write` allows to delete, too."""
    from imex.storage.keys import INBOX_PREFIX, NOTES_PREFIX
    from imex.storage.provision import DIRECTORY_ACTIONS, INBOX_ACTIONS, NOTES_ACTIONS, PAYLOAD_ACTIONS

    actions = {"Read": "s3:GetObject", "List": "s3:GetObject", "Write": "s3:PutObject"}
    grants = {"root": ["Admin", "Read", "Write", "List", "Tagging"]}
    for name in SERVICES:
        grants[name] = [
            f"{action}:{bucket}"
            for bucket, allowed in ((PAYLOADS, PAYLOAD_ACTIONS[name]), (DIRECTORY, DIRECTORY_ACTIONS[name]))
            for action, needed in actions.items()
            if needed in allowed
        ]
        grants[name] += [f"Write:{PAYLOADS}/{INBOX_PREFIX}*"] if name in INBOX_ACTIONS else []
        grants[name] += [f"Write:{PAYLOADS}/{NOTES_PREFIX}*"] if name in NOTES_ACTIONS else []
    return grants


def service(home: Home, name: str) -> Launch:
    """One process of the six services, such as `ingest` or `ingest-2`."""
    base = f"http://{_LOOPBACK}:{home.ports()[name]}"
    return Launch(
        name=name,
        argv=(_COMMAND, service_of(name)),
        probe=Probe("http", f"{base}/ready"),
        cwd=home.root,
        log=home.log(name),
        environment=service_environment(home, name),
        health=f"{base}/ready",
        metrics=f"{base}/metrics",
        stop_within_s=DRAIN_S + _AFTER_DRAIN_S,
    )


def stages(home: Home) -> list[Stage]:
    """The whole stack in the order in which it is started; it is stopped the other way round."""
    setup = Task("setup", (_COMMAND, "setup"), setup_environment(home))
    furnish = Task("furnish", (sys.executable, "-m", "imex.local.furnish", str(home.root)), within_s=60.0)
    return [
        Stage(infrastructure(home), setup),
        Stage([service(home, name) for name in wanted()], furnish),
    ]


def _endpoints(home: Home) -> dict[str, str]:
    at = home.ports()
    return {
        "IMEX_KAFKA_BOOTSTRAP": f"{_LOOPBACK}:{at['kafka']}",
        "IMEX_S3_ENDPOINT": f"http://{_LOOPBACK}:{at['minio']}",
        "IMEX_S3_BUCKET": PAYLOADS,
        "IMEX_S3_DIRECTORY_BUCKET": DIRECTORY,
        "IMEX_S3_REGION": "us-east-1",
    }


def database_url(home: Home, role: str, password: str) -> str:
    """The URL of the stack's database for one role."""
    return f"postgresql://{role}:{password}@{_LOOPBACK}:{home.ports()['postgres']}/{DATABASE}"


def admin_database_url(home: Home) -> str:
    """The URL with which everything can be read."""
    return database_url(home, postgres.SUPERUSER, home.secrets().database["postgres"])


def service_environment(home: Home, name: str) -> dict[str, str]:
    """The settings of one process: its service's credentials, and what only it needs."""
    at, secrets = home.ports(), home.secrets()
    service = service_of(name)
    user = secrets.s3[service]
    common = {
        **_endpoints(home),
        "IMEX_KAFKA_USERNAME": f"imex-{service}",
        "IMEX_KAFKA_PASSWORD": secrets.kafka[f"imex-{service}"],
        "IMEX_S3_ACCESS_KEY": user.access_key,
        "IMEX_S3_SECRET_KEY": user.secret_key,
        "IMEX_TRACES_EXPORTER": "zipkin",
        "IMEX_TRACES_ENDPOINT": f"http://{_LOOPBACK}:{at['zipkin']}",
        # A stable name: one that was killed takes its partitions up again at once, not after 45 s.
        "IMEX_INSTANCE": name,
        "IMEX_HTTP_HOST": _LOOPBACK,
        "IMEX_HTTP_PORT": str(at[name]),
    }
    if service in secrets.database:
        common["IMEX_DB_URL"] = database_url(home, f"imex_{service}", secrets.database[service])
    return common | _own_environment(home, service)


def _own_environment(home: Home, service: str) -> dict[str, str]:
    secrets = home.secrets()
    sealing = {
        "IMEX_SEALING_KEYS": json.dumps(dict(secrets.sealing_keys)),
        "IMEX_SEALING_CURRENT": secrets.sealing_current,
    }
    match service:
        case "ingest":
            shown = home.certificates.server()
            return sealing | {
                "IMEX_DICOM_HOST": _LOOPBACK,
                "IMEX_DICOM_PORT": str(home.ports()["dicom"]),
                "IMEX_DICOM_TLS_PORT": str(home.ports()["dicom_tls"]),
                "IMEX_DICOM_TLS_CERTIFICATE": str(shown.certificate),
                "IMEX_DICOM_TLS_KEY": str(shown.key),
                "IMEX_DICOM_TLS_CA": str(home.certificates.ca),
                "IMEX_DICOM_AE_TITLE": AE_TITLE,
                "IMEX_DICOM_SHARED_PORT": str(len(names_of("ingest")) > 1).lower(),
                "IMEX_INGEST_DRAIN_S": str(DRAIN_S),
                "IMEX_HL7_HOST": _LOOPBACK,
                "IMEX_HL7_PORT": str(home.ports()["hl7"]),
                "IMEX_STOW_PORT": str(home.ports()["stow"]),
                "IMEX_STOW_SECRET": secrets.stow,
                "IMEX_LIMITS_PROCESSES": str(len(names_of("ingest"))),
                "IMEX_STORAGE_MEASURE": "disk" if objects.uses_seaweedfs(home) else "minio",
                "IMEX_STORAGE_PATH": str(home.data),
                "IMEX_STORAGE_WATERMARK": str(WATERMARK),
            }
        case "validation":
            # patients of a local stack are made up, and have numbers of the test range
            return sealing | {"IMEX_VALIDATION_TEST_NUMBERS": "ok"}
        case "routing":
            # A killed ingest cannot say that its associations have ended: here nobody waits long for that.
            return sealing | {
                "IMEX_ROUTING_QUIET_S": str(QUIET_S),
                "IMEX_ROUTING_ASSOCIATION_GRACE_S": str(ASSOCIATION_GRACE_S),
                "IMEX_ROUTING_RETENTION_EVERY_S": str(RETENTION_EVERY_S),
            }
        case "delivery":
            shown = home.certificates.server()
            return sealing | {
                "IMEX_DELIVERY_SIGNING_KEY": secrets.signing_key,
                "IMEX_DELIVERY_TLS_CA": str(home.certificates.ca),
                "IMEX_DELIVERY_TLS_CERTIFICATE": str(shown.certificate),
                "IMEX_DELIVERY_TLS_KEY": str(shown.key),
                "IMEX_STOW_URL": f"http://{_LOOPBACK}:{home.ports()['stow']}",
                "IMEX_STOW_SECRET": secrets.stow,
            }
        case "portal":
            others = (name for name in wanted() if name != "portal")
            health = {name: f"http://{_LOOPBACK}:{home.ports()[name]}/ready" for name in others}
            shown = home.certificates.server()
            return sealing | {
                "IMEX_PORTAL_SECRET": secrets.portal_secret,
                "IMEX_PORTAL_LOCAL": "true",
                "IMEX_PORTAL_DICOM_HOST": _LOOPBACK,
                "IMEX_PORTAL_DICOM_PORT": str(home.ports()["query"]),
                "IMEX_PORTAL_DICOM_TLS_PORT": str(home.ports()["query_tls"]),
                "IMEX_PORTAL_DICOM_TLS_CERTIFICATE": str(shown.certificate),
                "IMEX_PORTAL_DICOM_TLS_KEY": str(shown.key),
                "IMEX_PORTAL_DICOM_TLS_CA": str(home.certificates.ca),
                "IMEX_PORTAL_DICOM_AE_TITLE": AE_TITLE,
                "IMEX_PORTAL_SERVICES": json.dumps(health),
                "IMEX_STOW_URL": f"http://{_LOOPBACK}:{home.ports()['stow']}",
                "IMEX_STOW_SECRET": secrets.stow,
                "IMEX_PORTAL_TRACES_URL": f"http://{_LOOPBACK}:{home.ports()['zipkin']}",
            }
        case _:
            return {}


def setup_environment(home: Home) -> dict[str, str]:
    """The settings of `imex setup`: administrators' credentials and what to create for whom."""
    secrets = home.secrets()
    root = secrets.s3["root"]
    s3_users = {name: user.model_dump() for name, user in secrets.s3.items() if name in SERVICES}
    return {
        **_endpoints(home),
        "IMEX_KAFKA_USERNAME": kafka.ADMIN,
        "IMEX_KAFKA_PASSWORD": secrets.kafka[kafka.ADMIN],
        "IMEX_S3_ACCESS_KEY": root.access_key,
        "IMEX_S3_SECRET_KEY": root.secret_key,
        "IMEX_DB_URL": admin_database_url(home),
        "IMEX_SETUP_ADMIN_TOKEN": secrets.admin_token,
        "IMEX_SETUP_ADMIN_PASSWORD": secrets.account_passwords["admin"],
        "IMEX_SETUP_DB_PASSWORDS": json.dumps(
            {name: word for name, word in secrets.database.items() if name in SERVICES}
        ),
        "IMEX_SETUP_S3_USERS": json.dumps({} if objects.uses_seaweedfs(home) else s3_users),
    }


def describe(home: Home) -> dict[str, Any]:
    """The fixed part of `stack.json`."""
    at, secrets = home.ports(), home.secrets()
    portal = f"http://{_LOOPBACK}:{at['portal']}"
    root = secrets.s3["root"]
    return {
        "dicom": {
            "host": _LOOPBACK,
            "port": at["dicom"],
            "tls_port": at["dicom_tls"],
            "ae_title": AE_TITLE,
        },
        "query": {
            "host": _LOOPBACK,
            "port": at["query"],
            "tls_port": at["query_tls"],
            "ae_title": AE_TITLE,
        },
        "hl7": {"host": _LOOPBACK, "port": at["hl7"]},
        "portal": portal,
        "api": f"{portal}/api/v1",
        "dicomweb": f"{portal}/dicom-web",
        "kafka": f"{_LOOPBACK}:{at['kafka']}",
        "kafka_sasl": {
            "mechanism": kafka.MECHANISM,
            "username": kafka.ADMIN,
            "password": secrets.kafka[kafka.ADMIN],
        },
        "database": admin_database_url(home),
        "s3": {
            "endpoint": f"http://{_LOOPBACK}:{at['minio']}",
            "bucket": PAYLOADS,
            "access_key": root.access_key,
            "secret_key": root.secret_key,
        },
        "traces": f"http://{_LOOPBACK}:{at['zipkin']}",
        "tls": {"ca": str(home.certificates.ca), "client_cert": {}, "client_key": {}},
        "tokens": {"admin": secrets.admin_token},
        "accounts": dict(secrets.account_passwords),
    }


def demonstration_directory() -> Path:
    """The directory that a new local stack starts with."""
    return Path(__file__).parents[3] / "deploy" / "local" / "demo-directory.yaml"
