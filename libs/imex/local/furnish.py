"""What a stack gets once its services run: the demonstration directory, and its institutions' credentials."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx2
import psycopg
import yaml

from imex.local import credentials
from imex.local.home import Home
from imex.local.layout import admin_database_url, demonstration_directory, describe

_RECEIVERS = {4242: "hospital_a", 4243: "hospital_b"}
"""Ports in the demonstration directory, and the stack's own names for what listens there."""


def furnish(home: Home) -> None:
    """Apply the demonstration directory when none was applied yet; then bring the credentials up to date.

    Raises:
        httpx2.HTTPError: the portal refused, or is not there.
    """
    with psycopg.connect(admin_database_url(home), connect_timeout=10) as connection:
        empty = not credentials.members(connection)
    if empty:
        apply(home, demonstration(home))
    credentials.refresh(home)


def demonstration(home: Home) -> str:
    """The demonstration directory, with the ports at which this stack's hospitals listen."""
    text = demonstration_directory().read_text()
    document = yaml.safe_load(text)
    at = home.ports()
    if all(at[name] == port for port, name in _RECEIVERS.items()):
        return text
    for institution in document["institutions"]:
        for endpoint in institution["endpoints"]:
            endpoint["port"] = at[_RECEIVERS[endpoint["port"]]]
    return yaml.safe_dump(document, sort_keys=False)


def apply(home: Home, text: str) -> None:
    """Make `text` the whole directory, whatever it was."""
    response = httpx2.put(
        f"{describe(home)['api']}/directory",
        content=text.encode(),
        headers={
            "Authorization": f"Bearer {home.secrets().admin_token}",
            "Content-Type": "text/yaml",
            "If-Match": "*",
        },
        timeout=30.0,
    )
    if response.status_code >= 400:
        print(f"the directory was refused: {response.text}", file=sys.stderr)
    response.raise_for_status()


if __name__ == "__main__":
    furnish(Home(Path(sys.argv[1]), default=False))
