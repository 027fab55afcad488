"""When a failure strikes: after so many occasions on which all went well, and so many times."""

from collections import Counter
from collections.abc import Sequence

from imex.simulation.failures import Failure, Stage


class Misbehaviour:
    """What a simulated PACS is told to do wrong. It can be told otherwise while it runs."""

    def __init__(self, failures: Sequence[Failure] = (), *, after: int = 0, times: int | None = None) -> None:
        """Each strikes at the occasions of its stage from `after` on, `times` times or always."""
        self.failures: tuple[Failure, ...] = ()
        self.after = 0
        self.times: int | None = None
        self.struck: Counter[str] = Counter()
        """How often each has struck."""
        self._occasions: Counter[Stage] = Counter()
        self.tell(failures, after=after, times=times)

    def tell(self, failures: Sequence[Failure], *, after: int = 0, times: int | None = None) -> None:
        """From now on these instead; counting begins anew."""
        self.failures, self.after, self.times = tuple(failures), after, times
        self.struck.clear()
        self._occasions.clear()

    def occasion(self, stage: Stage) -> dict[str, Failure]:
        """What strikes at this occasion, by name."""
        number = self._occasions[stage]
        self._occasions[stage] += 1
        end = float("inf") if self.times is None else self.after + self.times
        if not self.after <= number < end:
            return {}
        striking = {one.name: one for one in self.failures if one.stage == stage}
        self.struck.update(striking.keys())
        return striking

    def standing(self, name: str) -> bool:
        """Whether a failure is told that concerns what the PACS can do at all."""
        return any(one.name == name for one in self.failures)
