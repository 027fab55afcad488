"""Audit keeps the append-only, hash-chained record of who sent, saw, moved or changed what."""
