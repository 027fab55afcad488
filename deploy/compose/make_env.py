"""Prints an `.env` for docker-compose.yml with fresh credentials.

python3 deploy/compose/make_env.py > .env
"""

import base64
import json
import secrets

SERVICES = ("ingest", "validation", "routing", "delivery", "audit", "portal")
WITH_DATABASE = SERVICES[1:]
WITH_STORE = ("ingest", "validation", "routing", "delivery", "portal")


def word() -> str:
    """A password that needs no quoting anywhere."""
    return secrets.token_hex(24)


def key() -> str:
    """32 bytes, base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def jaas(admin: str, passwords: dict[str, str]) -> str:
    """The broker's users, in the form of Kafka's PLAIN login module."""
    users = {"admin": admin} | {f"imex-{name}": password for name, password in passwords.items()}
    entries = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    return (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="admin" password="{admin}" {entries};'
    )


def environment() -> dict[str, str]:
    """Every variable that the compose file asks for."""
    kafka = {name: word() for name in SERVICES}
    database = {name: word() for name in WITH_DATABASE}
    store = {name: {"access_key": f"imex-{name}", "secret_key": word()} for name in WITH_STORE}
    admin = word()
    made = {
        "KAFKA_ADMIN_PASSWORD": admin,
        "KAFKA_JAAS": jaas(admin, kafka),
        "MINIO_ROOT_USER": "imex-root",
        "MINIO_ROOT_PASSWORD": word(),
        "POSTGRES_PASSWORD": word(),
        "IMEX_SETUP_DB_PASSWORDS": json.dumps(database),
        "IMEX_SETUP_S3_USERS": json.dumps(store),
        "IMEX_SETUP_ADMIN_TOKEN": word(),
        "IMEX_SETUP_ADMIN_PASSWORD": word(),
        "IMEX_SEALING_KEYS": json.dumps({"k1": key()}),
        "IMEX_SEALING_CURRENT": "k1",
        "IMEX_DELIVERY_SIGNING_KEY": key(),
        "IMEX_PORTAL_SECRET": key(),
        "IMEX_STOW_SECRET": key(),
    }
    made |= {f"KAFKA_{name.upper()}_PASSWORD": password for name, password in kafka.items()}
    made |= {f"DB_{name.upper()}_PASSWORD": password for name, password in database.items()}
    for name, user in store.items():
        made[f"S3_{name.upper()}_ACCESS_KEY"] = user["access_key"]
        made[f"S3_{name.upper()}_SECRET_KEY"] = user["secret_key"]
    return made


if __name__ == "__main__":
    for variable, value in environment().items():
        print(f"{variable}='{value}'")
