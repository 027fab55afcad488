"""One part of a store transaction on its way into the same sink that a C-STORE's data set goes into."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from imex.dicomweb import outcome
from imex.dicomweb.media import DICOM, media_type
from imex.dicomweb.opening import NotDicom, Opening
from imex.dicomweb.outcome import PartOutcome
from imex.dimse import Refused, StoreCommand, StoreResponse
from imex.ingest.association import Carried
from imex.ingest.decide import study_of
from imex.ingest.ports import Surroundings
from imex.ingest.received import Origin
from imex.ingest.sink import InstanceSink
from imex.ingest.stow.inspection import Inspection

if TYPE_CHECKING:
    from imex.directory import DirectoryIndex

_MESSAGE_IDS = 0x10000
NOT_TRIED = "not tried: there was no room for an earlier part"


class Part:
    """Takes the bytes of one part and says what became of it; never raises because of what it holds."""

    def __init__(
        self,
        around: Surroundings,
        origin: Origin,
        carried: Carried,
        *,
        number: int,
        study: str,
        headers: Mapping[str, str],
        refusing: Callable[[], bool],
    ) -> None:
        """`study`: the path's. `refusing`: whether it is only read to be named, as there is no room."""
        self._around = around
        self._origin = origin
        self._carried = carried
        self._number = number
        self._study = study
        self._refusing = refusing
        self._opening: Opening | None = Opening()
        self._sink: InstanceSink | None = None
        self._names = ("", "")
        self._failed: StoreResponse | None = None
        kind = media_type(headers.get("content-type", DICOM)).name
        coding = headers.get("content-encoding", "").strip().lower()
        if kind not in {DICOM, "application/octet-stream"} or coding not in {"", "identity"}:
            self._fail(outcome.NOT_UNDERSTOOD, "the part is no application/dicom")

    async def write(self, piece: memoryview) -> None:
        """Take the next bytes; what comes after a failure is not looked at."""
        if self._failed is not None:
            return
        try:
            if self._sink is not None:
                await self._sink.write(piece)
            elif self._opening is not None and self._opening.feed(piece):
                await self._opened(self._opening)
        except (NotDicom, Refused) as error:
            await self._give_up(error)

    async def _give_up(self, error: NotDicom | Refused) -> None:
        if isinstance(error, Refused):
            self._failed = StoreResponse(error.status, error.comment)
            await self.abort()
        else:
            self._opening = None
            self._fail(outcome.NOT_UNDERSTOOD, str(error))

    async def _opened(self, opening: Opening) -> None:
        self._opening = None
        self._names = (opening.sop_class_uid, opening.sop_instance_uid)
        index = self._around.directory()
        if self._refusing() or index is None:
            self._fail(outcome.OUT_OF_RESOURCES, "no directory" if index is None else NOT_TRIED)
            return
        self._sink = self._made(opening, index)
        await self._sink.write(memoryview(bytes(opening.dataset)))

    def _made(self, opening: Opening, index: "DirectoryIndex") -> InstanceSink:
        command = StoreCommand(
            message_id=self._number % _MESSAGE_IDS,
            sop_class_uid=opening.sop_class_uid,
            sop_instance_uid=opening.sop_instance_uid,
            transfer_syntax=opening.transfer_syntax,
        )
        inspection = Inspection(self._study, opening.sop_class_uid, opening.transfer_syntax)
        return InstanceSink(self._around, self._origin, command, index, self._carried, inspects=inspection)

    def _fail(self, status: int, words: str) -> None:
        """It is not stored, and of which study it is nobody looks."""
        self._failed = StoreResponse(status, words)
        self._carried.denied(f"unknown/{self._origin.association}", words)

    async def finish(self) -> PartOutcome:
        """The part is complete: make it safe, and say what became of it."""
        try:
            if self._failed is None and self._opening is not None:
                self._opening.finish()
                await self._opened(self._opening)
        except (NotDicom, Refused) as error:
            await self._give_up(error)
        if self._failed is None and self._refusing():
            # one that waited for its turn while those before it found no room
            self._fail(outcome.OUT_OF_RESOURCES, NOT_TRIED)
            await self.abort()
        response, sink = self._failed, self._sink
        if response is None and sink is not None:
            response = await sink.commit()
        assert response is not None
        return self._outcome(response, sink)

    def _outcome(self, response: StoreResponse, sink: InstanceSink | None) -> PartOutcome:
        elements = sink.header.elements if sink is not None else None
        stored = response.status == outcome.STORED and sink is not None
        study = study_of(sink.header, self._origin.association) if sink is not None and stored else ""
        return PartOutcome(
            part=self._number,
            status=response.status,
            sop_class_uid=self._names[0],
            sop_instance_uid=self._names[1],
            study_uid=study,
            series_uid=elements.series_uid if elements is not None and stored else "",
            words=response.comment,
        )

    async def abort(self) -> None:
        """The part will not be completed: nothing of it stays."""
        if self._sink is not None:
            await self._sink.abort()
