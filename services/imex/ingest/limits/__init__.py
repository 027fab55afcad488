"""Limits that all ingest processes share: on associations, bytes in flight and rate (docs/adr/0017)."""
