"""Text as it stands in a message with the usual separators (HL7 v2.5 2.7). Pure."""

import re
from typing import Final

_ESCAPES: Final = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def escaped(text: str) -> str:
    """A value that comes back as it was, but for control characters, which become blanks."""
    return "".join(_ESCAPES.get(one, one) for one in _CONTROL.sub(" ", text))
