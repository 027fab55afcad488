"""What the broker must have before services start: topics and access rules, made from the catalogue."""

from imex.runtime.acls import ensure_acls
from imex.runtime.topics import ensure_topics

__all__ = ["ensure_acls", "ensure_topics"]
