"""One data set on its way: scanned and hashed while it arrives, safe before the answer."""

import asyncio
import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import structlog

from imex.dicom import Header, HeaderScanner, file_meta, valid_uid
from imex.dimse import Refused, StoreCommand, StoreResponse
from imex.events import Lane
from imex.events.ids import root_traceparent
from imex.events.instances import InstanceReceived
from imex.ingest.association import Carried, TooManyStudies
from imex.ingest.budget import BudgetExhausted
from imex.ingest.decide import is_retrieved, lane_of, study_of
from imex.ingest.meters import LimitName
from imex.ingest.ports import Surroundings
from imex.ingest.received import Origin, Stored, identity_of, metadata, object_key, received_data
from imex.ingest.traffic import Overrun
from imex.runtime.errors import Transient
from imex.storage import StoreError, StoreFull, Upload

if TYPE_CHECKING:
    from imex.directory import DirectoryIndex

SUCCESS = 0x0000
NOT_AUTHORISED = 0x0124
OUT_OF_RESOURCES = 0xA700

log = structlog.get_logger(__name__)


class NearlyFull(Exception):
    """The object store has no room for this lane any more; the words are for the sender."""


class Inspects(Protocol):
    """Says why a data set is not stored, where its way in asks for more than a C-STORE's does."""

    def of(self, header: Header, *, complete: bool) -> StoreResponse | None:
        """The answer to give instead; None where it may be stored. `complete`: all of it has come."""
        ...


class InstanceSink:
    """Takes one data set to the store and its event to the broker; only then says SUCCESS."""

    def __init__(
        self,
        around: Surroundings,
        origin: Origin,
        command: StoreCommand,
        index: "DirectoryIndex",
        carried: Carried,
        *,
        inspects: Inspects | None = None,
    ) -> None:
        self._around = around
        self._origin = origin
        self._index = index
        self._carried = carried
        self._inspects = inspects
        self.header = Header()
        """What its header says: known once `commit` has begun."""
        self._id = around.new_id()
        now = around.now()
        self._stored = Stored(
            object_key=object_key(origin.source, self._id, now),
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax=command.transfer_syntax,
            size=0,
            digest="",
            received_at=now,
            retrieved=origin.retrieved or is_retrieved(command.move_originator_ae, around.own_ae_title),
        )
        self._scanner = HeaderScanner(command.transfer_syntax)
        self._dataset_hash = hashlib.sha256()
        self._size = 0
        self._buffer = bytearray(
            file_meta(
                command.sop_class_uid, command.sop_instance_uid, command.transfer_syntax, origin.calling_ae
            )
        )
        self._upload: Upload | None = None
        self._lane: Lane | None = None
        self._started = time.perf_counter()
        self._memory = around.traffic.data_set(origin.source, self._is_emergency)

    async def write(self, chunk: memoryview | bytes) -> None:
        """Take the next piece. Raises Refused with A700 where memory or the store has no room for it."""
        self._size += len(chunk)
        try:
            self._scanner.feed(chunk)
            await self._memory.cover(self._size)
            self._dataset_hash.update(chunk)
            if self._upload is not None:
                await self._upload.write(chunk)
            elif len(self._buffer) + len(chunk) <= self._around.tuning.single_put_bytes:
                self._buffer += chunk
            else:
                await self._stream(chunk)
        except (StoreError, BudgetExhausted, Overrun, NearlyFull) as error:
            self._carried.refused(study_of(self._scanner.finish(), self._origin.association))
            response = self._answer(OUT_OF_RESOURCES, self._unsafe(error))
            raise Refused(response.status, response.comment) from error

    def _is_emergency(self) -> bool:
        """By what has come so far; nothing is remembered, as what is still to come may say otherwise."""
        header, source = self._scanner.so_far(), self._origin.source
        if not valid_uid(header.elements.study_uid):
            return False  # what the lane is chosen by stands before it
        lane = self._around.lanes.known(source, header.elements.study_uid)
        if lane is None:
            sop_class = self._stored.sop_class_uid
            lane = self._chosen(header, sop_class)
        return lane == "express"

    def _chosen(self, header: Header, sop_class: str) -> Lane:
        """Earlier studies that were asked for keep nobody's emergency waiting."""
        if self._stored.retrieved:
            return "bulk"
        return lane_of(self._index, self._origin.source, self._origin.called, header, sop_class)

    async def _stream(self, chunk: memoryview | bytes) -> None:
        """From here on the data set is too large for one PUT."""
        refused = self._inspected(self._scanner.so_far(), complete=False) if self._inspects else None
        if refused is not None:
            raise Refused(refused.status, refused.comment)
        if self._around.fill.refusal("bulk") is not None:
            header = self._scanner.so_far()
            self._admit_to_store(header, study_of(header, self._origin.association))
        self._upload = self._around.store.open_put(
            self._stored.object_key, metadata(self._origin, self._stored)
        )
        buffer, self._buffer = self._buffer, bytearray()
        await self._upload.write(buffer)
        await self._upload.write(chunk)

    async def commit(self) -> StoreResponse:
        """Store, publish, and answer; never later than the bound, never a false SUCCESS."""
        header = self.header = self._scanner.finish()
        study_uid = study_of(header, self._origin.association)
        refused = self._inspected(header, complete=True)
        if refused is not None:
            await self.abort()
            return refused
        try:
            lane = self._admit_to_store(header, study_uid)
            async with asyncio.timeout(self._around.tuning.safe_within_s):
                with self._around.company.under_way():
                    with self._around.meters.step("store"):
                        await self._put()
                    event = self._event(header, study_uid, lane)
                    with self._around.meters.step("broker"):
                        await self._around.company.wait()
                        await self._around.publish(event)
        except Exception as error:  # noqa: BLE001  whatever went wrong, it is not safe, and the sender is told so
            comment = self._unsafe(error)
            self._carried.refused(study_uid)
            self._abandon()
            return self._answer(OUT_OF_RESOURCES, comment)
        except BaseException:
            self._abandon()
            raise
        finally:
            self._memory.release()
        self._carried.received(study_uid)
        self._around.meters.safe(self._size)
        return self._answer(SUCCESS, "")

    def _inspected(self, header: Header, *, complete: bool) -> StoreResponse | None:
        refused = self._inspects.of(header, complete=complete) if self._inspects else None
        if refused is None:
            return None
        self._carried.denied(study_of(header, self._origin.association), refused.comment)
        return self._answer(refused.status, refused.comment)

    async def abort(self) -> None:
        """The data set will not be completed: nothing of it stays."""
        self._memory.release()
        self._buffer = bytearray()
        self._abandon()

    def _abandon(self) -> None:
        # An object whose event may still reach the broker stays: reconciliation finds it. Parts of an upload
        # that was not completed belong to nothing.
        upload, self._upload = self._upload, None
        if upload is not None:
            self._around.background.spawn(upload.abort())

    async def _put(self) -> None:
        digest = f"sha256:{self._dataset_hash.hexdigest()}"
        self._stored = replace(self._stored, size=self._size, digest=digest)
        if self._upload is not None:
            await self._upload.commit()
            return
        await self._around.store.put(
            self._stored.object_key,
            self._buffer,
            metadata(self._origin, self._stored),
        )

    def _admit_to_store(self, header: Header, study_uid: str) -> Lane:
        """Choose the lane; raises NearlyFull where the store has no room for it."""
        around, source = self._around, self._origin.source
        lane = self._lane = around.lanes.lane(
            source,
            study_uid,
            lambda: self._chosen(header, self._stored.sop_class_uid),
        )
        words = around.fill.refusal(lane)
        if words is not None:
            raise NearlyFull(words)
        return lane

    def _event(self, header: Header, study_uid: str, lane: Lane) -> InstanceReceived:
        around, source = self._around, self._origin.source
        study = self._carried.study(study_uid, lane)
        return InstanceReceived.of(
            id=self._id,
            subject=f"{source}/{study_uid}",
            time=self._stored.received_at,
            traceparent=study.traceparent or root_traceparent(source, study_uid),
            data=received_data(
                header,
                self._origin,
                self._stored,
                study_uid=study_uid,
                lane=lane,
                version=self._index.version,
                sealed=around.seal(identity_of(header), self._stored.object_key),
            ),
        )

    def _unsafe(self, error: BaseException) -> str:
        """Words for the Error Comment, at most 64 characters; the log says more."""
        match error:
            case StoreFull():
                comment = "out of resources: the object store is full"
            case StoreError():
                comment = "out of resources: the object store is not available"
            case NearlyFull():
                comment = f"out of resources: {error}"
                self._limited("storage", "everybody")
            case BudgetExhausted() if error.pool.name == "memory":
                comment = "out of resources: too much is under way, send again later"
                self._limited("memory", "process")
            case BudgetExhausted():
                comment = "out of resources: limit of bytes under way, send again later"
                self._limited("in flight", error.pool.name)
            case Overrun():
                comment = "out of resources: rate limit, send again later"
                self._limited("rate", error.scope)
            case Transient():
                comment = "out of resources: the event broker is not available"
            case TooManyStudies():
                comment = "out of resources: too many studies in one association"
            case TimeoutError():
                comment = "out of resources: could not be made safe in time"
            case _:
                comment = "out of resources: could not be made safe"
        log.warning(
            "instance not safe",
            kind=type(error).__name__,
            said=str(error) if isinstance(error, StoreError | Transient) else "",
            object_key=self._stored.object_key,
            association=str(self._origin.association),
        )
        return comment

    def _limited(self, limit: LimitName, scope: str) -> None:
        self._around.limit_meters.refused(limit, scope, self._origin.source)

    def _answer(self, status: int, comment: str) -> StoreResponse:
        self._around.meters.answered(status, self._lane, time.perf_counter() - self._started)
        return StoreResponse(status, comment)


class RefusingSink:
    """Reads a data set that may not be stored, only to know which study was refused."""

    def __init__(
        self, around: Surroundings, origin: Origin, command: StoreCommand, carried: Carried, words: str
    ) -> None:
        self._around = around
        self._origin = origin
        self._carried = carried
        self._words = words
        self._scanner = HeaderScanner(command.transfer_syntax)
        self._started = time.perf_counter()

    async def write(self, chunk: memoryview | bytes) -> None:
        """Look at the next piece and forget it."""
        self._scanner.feed(chunk)

    async def commit(self) -> StoreResponse:
        """Answer 0124 with the reason."""
        study_uid = study_of(self._scanner.finish(), self._origin.association)
        self._carried.denied(study_uid, self._words)
        self._around.meters.answered(NOT_AUTHORISED, None, time.perf_counter() - self._started)
        return StoreResponse(NOT_AUTHORISED, self._words)

    async def abort(self) -> None:
        """Nothing was kept."""
