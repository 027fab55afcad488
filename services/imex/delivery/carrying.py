"""Carrying one claimed delivery: where to, an attempt under its span, and how it ends."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from imex.delivery.attempt import LeaseLost, Means, Stop, Width, attempt
from imex.delivery.changing.changer import Changers
from imex.delivery.changing.decide import AgreementUnknown, MayNotLeave
from imex.delivery.confirming.confirm import Confirming
from imex.delivery.endings import Endings, Result, Settled
from imex.delivery.jobs import Job
from imex.delivery.pace import Rates
from imex.delivery.payloads import Prepare
from imex.delivery.targets import CannotDeliver, Target, Targets, target_for
from imex.directory import DirectoryIndex
from imex.directory.model import Endpoint
from imex.events import ids
from imex.observability.logs import about
from imex.observability.names import SpanName
from imex.observability.traces import Traces, traceparent_of
from imex.runtime.errors import is_transient

T = TypeVar("T")

log = logging.getLogger(__name__)

_SETTLE_AGAIN_S: Final = 1.0
_NEW_DIRECTORY_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.1

CurrentDirectory = Callable[[], DirectoryIndex | None]
"""The directory version in force, None before the first one is known."""


class Carrying:
    """What is done with a claimed delivery."""

    def __init__(
        self,
        endings: Endings,
        means: Means,
        targets: Targets,
        directory: CurrentDirectory,
        traces: Traces,
        *,
        changers: Changers,
        confirming: Confirming,
    ) -> None:
        """`targets` are by endpoint type."""
        self._endings = endings
        self._means = means
        self._targets = targets
        self._changers = changers
        self._confirming = confirming
        self._directory = directory
        self._traces = traces

    async def carry(self, job: Job, stop: Stop, width: Width) -> None:
        """Make an attempt where something waits, and settle what becomes of the delivery."""
        trace_id = ids.trace_id_hex(job.source, job.study_uid)
        with about(trace_id=trace_id, share=job.share):
            try:
                if job.sends:
                    await self._attempt(job, stop, width)
                else:
                    self._means.meters.settled(job, await self._settle(job, None))
            except LeaseLost:
                log.warning("a delivery was taken over by another process")

    def address(self, recipient: str, endpoint: str) -> str:
        """How the receipt names a destination; empty when it is none."""
        return self._ask(recipient, endpoint, lambda target, found: target.address(found), "")

    def place(self, recipient: str, endpoint: str) -> str:
        """Where its endpoint is; empty when it is none."""
        return self._ask(recipient, endpoint, lambda target, found: target.place(found), "")

    def kept(self, recipient: str, endpoint: str) -> int:
        """How many associations with a destination are kept open."""
        return self._ask(recipient, endpoint, lambda target, found: target.kept(found), 0)

    def _ask(self, recipient: str, endpoint: str, ask: Callable[[Target, Endpoint], T], otherwise: T) -> T:
        """Ask the target about a destination; `otherwise` where there is none."""
        directory = self._directory()
        found = directory.endpoint_for(recipient, endpoint) if directory else None
        try:
            return ask(target_for(self._targets, found), found) if found else otherwise
        except CannotDeliver:
            return otherwise

    @property
    def keeps(self) -> bool:
        """Whether any is kept open: who has one is to look for work more often than others."""
        return any(target.keeps for target in self._targets.values())

    @property
    def rates(self) -> Rates:
        """How fast destinations may be sent to."""
        return self._means.rates

    async def close(self) -> None:
        """End what is kept open."""
        for target in self._targets.values():
            await target.close()

    async def _attempt(self, job: Job, stop: Stop, width: Width) -> None:
        attributes: dict[str, AttributeValue] = {
            "imex.share": str(job.share),
            "imex.delivery": str(job.id),
            "imex.recipient": job.recipient,
            "imex.endpoint": job.endpoint,
            "imex.priority": job.priority,
            "imex.attempt": job.attempt,
        }
        with self._traces.span(
            SpanName.ATTEMPT, job.source, job.study_uid, kind=SpanKind.PRODUCER, attributes=attributes
        ) as span:
            job = replace(job, traceparent=traceparent_of(span) or job.traceparent)
            result = await self._send(job, stop, width)
            span.set_attribute("imex.confirmed", result.confirmed)
            span.set_attribute("imex.failed", result.failed)
            span.set_attribute("imex.bytes", result.sent_bytes)
            span.set_attribute("imex.outcome", "failed" if result.reason else "succeeded")
            if result.reason:
                span.set_attribute("imex.reason", result.reason)
            settled = await self._settle(job, result)
        self._means.meters.attempt(job, result)
        self._means.meters.settled(job, settled)
        log.info(
            "attempt %d to %s/%s: %d confirmed, %d failed, %s",
            *(job.attempt, job.recipient, job.endpoint, result.confirmed, result.failed),
            result.reason or "succeeded",
        )

    async def _send(self, job: Job, stop: Stop, width: Width) -> Result:
        try:
            target, endpoint, prepare = await self._way(job)
        except CannotDeliver as error:
            return Result(reason=str(error), away=self._directory() is not None)
        except MayNotLeave as error:
            return Result(reason=str(error))
        except Exception as error:
            if not is_transient(error):
                raise
            return Result(reason="the database is not available")
        result = await attempt(job, target, endpoint, self._means, stop, width, prepare)
        return await self._confirming.confirm(job, endpoint, result, stop)

    async def _way(self, job: Job) -> tuple[Target, Endpoint, Prepare | None]:
        """Where to, and through what. Routing may know a new directory a moment earlier."""
        deadline = asyncio.get_running_loop().time() + _NEW_DIRECTORY_S
        while True:
            directory = self._directory()
            if directory is None:
                raise CannotDeliver("the directory is not known yet")
            target, endpoint = self._destination(job, directory)
            try:
                return target, endpoint, await self._changers.of(job, directory, endpoint)
            except AgreementUnknown:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _destination(self, job: Job, directory: DirectoryIndex) -> tuple[Target, Endpoint]:
        if job.recipient not in directory.institutions:
            raise CannotDeliver(f"recipient {job.recipient} is not in the directory")
        endpoint = directory.endpoint_for(job.recipient, job.endpoint)
        if endpoint is None:
            raise CannotDeliver(f"recipient {job.recipient} has no endpoint {job.endpoint} in the directory")
        return target_for(self._targets, endpoint), endpoint

    async def _settle(self, job: Job, result: Result | None) -> Settled:
        """Until it is written: what was sent must not be forgotten because the database is away."""
        while True:
            try:
                settled = await self._endings.settle(job, result, self.kept(*job.destination))
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("the end of an attempt is not written yet: %s", type(error).__name__)
                await asyncio.sleep(_SETTLE_AGAIN_S)
                continue
            if settled.state == "lost":
                raise LeaseLost
            return settled
