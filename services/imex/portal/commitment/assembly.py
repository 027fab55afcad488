"""Storage commitments for senders, put together for the portal's process."""

import ssl
from collections.abc import Callable
from datetime import datetime
from typing import Final

from imex.db import Database
from imex.events import TOPICS
from imex.observability.metrics import Metrics
from imex.outbound import Outbound
from imex.portal.commitment.answering import Commitments
from imex.portal.commitment.node import SendersNodes
from imex.portal.commitment.offering import CommitmentOffer
from imex.portal.commitment.settings import CommitmentSettings
from imex.portal.parts import Part
from imex.runtime.background import Background
from imex.runtime.health import Health
from imex.runtime.progress import Progress, Source
from imex.settings import KafkaSettings

_EVERY_S: Final = 1.0
_TIDY_S: Final = 3600.0
_JUDGED: Final = {
    topic.name: Source(topic.name, f"imex-validation-{topic.name.partition('.')[2]}")
    for topic in TOPICS
    if topic.family == "instances"
}
"""Everything that comes in, and the groups in which validation reads it."""


class SenderCommitments:
    """What the DICOM listener offers, and the parts that run beside it."""

    def __init__(
        self,
        settings: CommitmentSettings,
        kafka: KafkaSettings,
        database: Database,
        metrics: Metrics,
        tls: Callable[[], ssl.SSLContext] | None = None,
        *,
        outbound: Outbound | None = None,
    ) -> None:
        """`tls` gives the context for senders' nodes that want TLS; `outbound` says where it may connect."""
        self._progress = Progress(kafka, "imex-portal", _JUDGED)
        self._nodes = SendersNodes(tls, outbound)
        self._judged_through: dict[str, datetime] = {}
        self._commitments = Commitments(database, self._nodes, settings.bounds, metrics, judged=self._judged)
        self.offer = CommitmentOffer(self._commitments, settings.same_association_s)

    @property
    def parts(self) -> list[Part]:
        """In the order in which they are started."""
        return [
            Background("progress of validation", self._progress.turn, _EVERY_S),
            Background("old sender commitments", self._commitments.tidy, _TIDY_S),
            _Leaving(self._commitments, self._nodes),
            Background("sender commitments", self._commitments.turn, _EVERY_S),
        ]

    def _judged(self, at: datetime) -> bool:
        """Whether what came in until then has been judged in every lane; Kafka is asked to learn more."""
        for name in _JUDGED:
            if (known := self._judged_through.get(name)) is not None and known >= at:
                continue
            if (through := self._progress.through(name)) is not None:
                self._judged_through[name] = through
        return all(name in self._judged_through and self._judged_through[name] >= at for name in _JUDGED)


class _Leaving:
    """What is left to others when the process stops."""

    name = "sender commitments at hand"

    def __init__(self, commitments: Commitments, nodes: SendersNodes) -> None:
        self._commitments = commitments
        self._nodes = nodes

    async def start(self) -> None:
        """Nothing is at hand yet."""

    async def stop(self) -> None:
        """After the loop has stopped."""
        self._nodes.close()
        await self._commitments.let_go()

    def health(self) -> Health:
        """Nothing depends on it."""
        return Health(live=True)
