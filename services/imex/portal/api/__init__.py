"""The HTTP API: one file a resource (INTERFACE §5)."""
