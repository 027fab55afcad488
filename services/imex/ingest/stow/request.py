"""One store transaction: its body in parts, a few of them made safe at a time."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import structlog

from imex.dicomweb import outcome
from imex.dicomweb.media import DICOM, RELATED, MediaType
from imex.dicomweb.outcome import PartOutcome, StowOutcome
from imex.dicomweb.related import BodyMalformed, PartBegun, PartEnded, PartPiece, RelatedReader
from imex.dicomweb.statement import Statement
from imex.dimse import Ended
from imex.directory import Standing
from imex.ingest.association import Carried, Peer
from imex.ingest.ports import Surroundings
from imex.ingest.received import Origin
from imex.ingest.stow.pace import Body, BodySlow, Pace, pieces
from imex.ingest.stow.part import Part

log = structlog.get_logger(__name__)

_AT_A_TIME = 4
"""Parts of one request that are made safe while the next ones come, as with several operations of DIMSE."""


class BodyNotTaken(Exception):
    """Nothing of the body was stored, and no part can be named: `status` of HTTP, words to act on."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class Whole:
    """A body that is one DICOM file, without multipart."""


Reader = RelatedReader | Whole


def reader_of(kind: MediaType) -> Reader:
    """How a body of this Content-Type is read. Raises BodyNotTaken (415, 400)."""
    if kind.name == DICOM:
        return Whole()
    if kind.name != RELATED or kind.part not in {"", DICOM}:
        raise BodyNotTaken(
            415, 'Send multipart/related; type="application/dicom", each part a DICOM file (PS3.10).'
        )
    try:
        return RelatedReader(kind.parameters.get("boundary", ""))
    except BodyMalformed as error:
        raise BodyNotTaken(400, f"{error}.") from None


class StoreTransaction:
    """Serves one request of a known institution."""

    def __init__(self, around: Surroundings, statement: Statement, address: str, pace: Pace) -> None:
        """`address`: the sender's, for the audit record."""
        self._around = around
        self._study = statement.study
        self._pace = pace
        self._origin = Origin(
            association=around.new_id(),
            source=statement.institution,
            called=Standing(),
            calling_ae="",
            called_ae=around.own_ae_title,
            retrieved=statement.retrieved,
        )
        way = "wado-rs" if statement.retrieved else "stow-rs"
        peer = Peer(address, {"via": way, "token": statement.token})
        self._carried = Carried(around, self._origin, peer, around.now())
        self._part: Part | None = None
        self._numbers = 0
        self._done: dict[int, PartOutcome] = {}
        self._committing: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_AT_A_TIME)
        self._refusing = False
        self._bytes = 0
        around.meters.opened()

    async def take(self, body: Body, reader: Reader) -> StowOutcome:
        """Take the whole body; an outcome for every part.

        Raises:
            BodyNotTaken: it has no part that could be named.
            BodySlow, and what the transport raises: what was acknowledged to be safe is safe all the same.
        """
        kind: Literal["released", "lost", "timeout"] = "lost"
        reason = "the sender went away"
        try:
            try:
                await self._read(body, reader)
            except BodyMalformed as error:
                await self._cut_off(str(error))
            await asyncio.gather(*self._committing)
            kind, reason = "released", "complete"
        except BodySlow:
            kind, reason = "timeout", "the body made no progress"
            raise
        finally:
            await self._close(kind, reason)
        if not self._done:
            raise BodyNotTaken(400, "The body has no part.")
        return self._outcome()

    async def _read(self, body: Body, reader: Reader) -> None:
        if isinstance(reader, Whole):
            self._begin({})
            async for data in pieces(body, self._pace):
                await self._write(memoryview(data))
            await self._end()
            return
        async for data in pieces(body, self._pace):
            for happening in reader.feed(data):
                match happening:
                    case PartBegun(headers):
                        self._begin(headers)
                    case PartPiece(piece):
                        await self._write(piece)
                    case PartEnded():
                        await self._end()
        reader.finish()

    def _begin(self, headers: Mapping[str, str]) -> None:
        self._numbers += 1
        self._part = Part(
            self._around,
            self._origin,
            self._carried,
            number=self._numbers,
            study=self._study,
            headers=headers,
            refusing=lambda: self._refusing,
        )

    async def _write(self, piece: memoryview) -> None:
        assert self._part is not None
        self._bytes += len(piece)
        await self._part.write(piece)

    async def _end(self) -> None:
        """The part is complete: let it become safe while the next one comes."""
        part, number = self._part, self._numbers
        assert part is not None
        self._part = None
        await self._room.acquire()
        task = asyncio.get_running_loop().create_task(self._finish(part, number))
        self._committing.add(task)
        task.add_done_callback(self._committing.discard)

    async def _finish(self, part: Part, number: int) -> None:
        try:
            done = await part.finish()
        except Exception:
            log.exception("part not stored", association=str(self._origin.association), part=number)
            done = PartOutcome(part=number, status=outcome.PROCESSING_FAILURE, words="processing failure")
        finally:
            self._room.release()
        self._done[number] = done
        # a sender of DIMSE would be told at once and could stop; this one hears it at the end
        self._refusing = self._refusing or done.status == outcome.OUT_OF_RESOURCES

    async def _cut_off(self, words: str) -> None:
        """What comes cannot be read any more: this part has failed, those before it have not."""
        part, self._part = self._part, None
        if part is None and not self._numbers:
            raise BodyNotTaken(400, f"{words[0].upper()}{words[1:]}.")
        if part is not None:
            await part.abort()
        number = self._numbers if part is not None else self._numbers + 1
        self._done[number] = PartOutcome(part=number, status=outcome.NOT_UNDERSTOOD, words=words)

    async def _close(self, kind: Literal["released", "lost", "timeout"], reason: str) -> None:
        if self._part is not None:
            await self._part.abort()
            self._part = None
        # what is being made safe becomes safe, or is known not to be, within its own bound
        await asyncio.gather(*self._committing, return_exceptions=True)
        done = self._done.values()
        stored = sum(each.stored for each in done)
        ended = Ended(kind=kind, reason=reason, stored=stored, failed=len(done) - stored, bytes=self._bytes)
        self._around.meters.ended(ended.kind)
        self._carried.end(ended)
        log.info(
            "store transaction ended",
            association=str(self._origin.association),
            source=self._origin.source,
            outcome=ended.kind,
            reason=ended.reason,
            stored=ended.stored,
            failed=ended.failed,
            bytes=ended.bytes,
        )

    def _outcome(self) -> StowOutcome:
        return StowOutcome(parts=tuple(self._done[number] for number in sorted(self._done)))
