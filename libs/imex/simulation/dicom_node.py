"""A simulated DICOM PACS: C-STORE, C-ECHO, C-FIND and storage commitment, on asyncio."""

import asyncio
import contextlib
import uuid
from functools import partial
from typing import Any, Final

from pydicom import Dataset

from imex.dicom.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    FailureReason,
    Reference,
    report_dataset,
)
from imex.dimse.statuses import is_stored, words
from imex.simulation import commands
from imex.simulation.association import Incoming, Over, Peer, Services, SimulatedAssociation
from imex.simulation.misbehaviour import Misbehaviour
from imex.simulation.options import Options
from imex.simulation.queries import find
from imex.simulation.reports import event_type, report
from imex.simulation.shelf import Arrived, Shelf

PENDING: Final = 0xFF00
OUT_OF_RESOURCES: Final = 0xA700
_STREAM_LIMIT: Final = 16 * 1024
_BACKLOG: Final = 100
STRANGER: Final = {
    "PatientName": "SIMULATED^OTHER",
    "PatientID": "SIM-OTHER",
    "StudyInstanceUID": "2.25.33113311331133113311331133113311",
}
"""Whose an instance is that is filed under wrong identifiers."""


class DicomNode:
    """Listens until it is closed."""

    def __init__(self, options: Options, misbehaviour: Misbehaviour, shelf: Shelf) -> None:
        """Nothing listens yet."""
        self._options = options
        self._misbehaviour = misbehaviour
        self._shelf = shelf
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._services = Services(self._store, self._find, self._commit)

    async def start(self) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(
            self._connected,
            self._options.host,
            self._options.port,
            limit=_STREAM_LIMIT,
            backlog=_BACKLOG,
            ssl=self._options.tls,
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        association = SimulatedAssociation(
            Peer(reader, writer), self._options, self._misbehaviour, self._shelf, self._services
        )
        try:
            await association.run()
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(Exception):
                writer.close()

    async def _store(self, association: SimulatedAssociation, incoming: Incoming) -> None:
        request, struck, peer = incoming.request, incoming.struck, association.peer
        uid = str(request.get("AffectedSOPInstanceUID", ""))
        tally = self._shelf.tally(uid)
        tally.received += 1
        status = next((one.status for one in struck.values() if one.status), 0)
        if is_stored(status) and "lose" not in struck:
            self._keep(incoming, uid)
        if "stall-response" in struck:
            tally.answers["none"] += 1
            await peer.until_gone()
        if "abort-after-data" in struck or "close-after-data" in struck:
            tally.answers["none"] += 1
            peer.abort() if "abort-after-data" in struck else peer.cut()
            raise Over
        if "slow-response" in struck:
            await asyncio.sleep(self._options.delay_s)
        tally.answers[words(status)] += 1
        more: dict[str, Any] = {}
        if "wrong-instance" in struck:
            more["AffectedSOPInstanceUID"] = f"2.25.{uuid.uuid4().int}"
        if "wrong-message" in struck:
            more["MessageIDBeingRespondedTo"] = (request.MessageID + 7) % 0x10000
        answer = commands.message(
            incoming.context_id,
            commands.response(request, status, comment="simulated" if status else "", **more),
        )
        await peer.send(answer * (2 if "answer-twice" in struck else 1))

    def _keep(self, incoming: Incoming, uid: str) -> None:
        struck = incoming.struck
        arrived = Arrived(
            str(incoming.request.get("AffectedSOPClassUID", "")),
            uid,
            incoming.transfer_syntax,
            f"sha256:{incoming.digest.hexdigest()}",
            incoming.spool,
        )
        keep(self._shelf, arrived, struck, self._options.delay_s)

    async def _find(
        self, association: SimulatedAssociation, context_id: int, request: Dataset, identifier: Dataset
    ) -> None:
        send = association.peer.send
        syntax = association.syntaxes[context_id]
        struck = self._misbehaviour.occasion("query")
        if "find-stalls" in struck:
            await association.peer.until_gone()
        if "find-fails" in struck:
            await send(commands.message(context_id, commands.response(request, OUT_OF_RESOURCES)))
            return
        for match in find(identifier, self._shelf.visible()):
            pending = commands.response(request, PENDING, has_data=True)
            await send(commands.message(context_id, pending, commands.encoded(match, syntax)))
        await send(commands.message(context_id, commands.response(request, 0)))

    async def _commit(
        self, association: SimulatedAssociation, context_id: int, request: Dataset, asked: Dataset
    ) -> None:
        struck = self._misbehaviour.occasion("commitment")
        answered = commands.response(
            request,
            0,
            AffectedSOPClassUID=request.get("RequestedSOPClassUID"),
            AffectedSOPInstanceUID=request.get("RequestedSOPInstanceUID"),
        )
        await association.peer.send(commands.message(context_id, answered))
        if "commit-silent" in struck:
            return
        result = self._result(asked, fails="commit-fails" in struck)
        task = asyncio.create_task(self._report(association, context_id, result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _result(self, asked: Dataset, *, fails: bool) -> Dataset:
        """The data set of the N-EVENT-REPORT; what is asked for is repeated whatever it is."""
        held: list[Reference] = []
        missing: list[tuple[Reference, FailureReason]] = []
        for item in asked.get("ReferencedSOPSequence", []):
            one = Reference(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            if fails:
                missing.append((one, FailureReason.PROCESSING_FAILURE))
            elif self._shelf.holds(one.sop_instance_uid):
                held.append(one)
            else:
                missing.append((one, FailureReason.NO_SUCH_OBJECT_INSTANCE))
        return report_dataset(str(asked.get("TransactionUID", "") or ""), held, missing)

    async def _report(self, association: SimulatedAssociation, context_id: int, result: Dataset) -> None:
        if self._options.commit_to is not None:
            own = self._options.ae_title
            await asyncio.to_thread(partial(report, own, self._options.commit_to, result))
            return
        if association.open:
            with contextlib.suppress(Over):
                await association.peer.send(
                    event_report(context_id, result, association.syntaxes[context_id])
                )


def keep(shelf: Shelf, arrived: Arrived, struck: Any, late_s: float) -> None:
    """Put an instance away as what has struck wants it."""
    shelf.put(
        arrived,
        changed=STRANGER if "wrong-identifiers" in struck else None,
        late_s=late_s if "late" in struck else 0.0,
    )
    if "duplicate" in struck:
        shelf.put(arrived, as_uid=f"2.25.{uuid.uuid4().int}")


def event_report(context_id: int, result: Dataset, transfer_syntax: str) -> bytes:
    """The N-EVENT-REPORT-RQ of storage commitment: type 1 where all is held, 2 where something is not."""
    request = commands.command(
        AffectedSOPClassUID=PUSH_MODEL,
        CommandField=commands.N_EVENT_REPORT,
        MessageID=1,
        CommandDataSetType=0x0001,
        AffectedSOPInstanceUID=PUSH_MODEL_INSTANCE,
        EventTypeID=event_type(result),
    )
    return commands.message(context_id, request, commands.encoded(result, transfer_syntax))
