"""How a command ends when it cannot do what was asked."""


class Failure(Exception):
    """Told on standard error, each line as it is; the process then ends with ``code``."""

    def __init__(self, *lines: str, code: int = 1) -> None:
        self.lines = lines
        self.code = code
        super().__init__("\n".join(lines))


class Unreachable(Failure):
    """The API did not answer; it may when asked again."""
