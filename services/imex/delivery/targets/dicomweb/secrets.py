"""Client secrets, by the names that the directory uses: from the settings, or from a mounted folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from imex.delivery.targets.dicomweb.tokens import Secrets

_MOST_BYTES: Final = 16_384


def held_secrets(given: Mapping[str, SecretStr], folder: Path | None) -> Secrets:
    """Files are read anew each time, so that an exchanged one needs no restart; the settings come first."""

    def secret(name: str) -> str | None:
        if name in given:
            return given[name].get_secret_value()
        if folder is None or "/" in name or name.startswith("."):
            return None
        try:
            with (folder / name).open("rb") as file:
                return file.read(_MOST_BYTES).decode().strip() or None
        except (OSError, ValueError):
            return None

    return secret
