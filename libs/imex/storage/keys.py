"""Prefixes of keys in the payload bucket, beside those of payloads: `<institution>/<date>/<uuid7>`."""

from typing import Final

INBOX_PREFIX: Final = "_inbox/"
"""What delivery writes for inboxes begins so, as no institution's code does."""

NOTES_PREFIX: Final = "_notes/"
"""So do the rejection notes that routing writes in a source's name."""
