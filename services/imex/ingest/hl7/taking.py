"""Taking one message: who sent it, what it says, and its instances made safe before it is acknowledged."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from imex.dimse import Ended, StoreCommand, StoreResponse
from imex.directory import DirectoryIndex, Recipient
from imex.directory.certificates import CertificateFacts
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.events.ids import caused_id
from imex.hl7.answer import TAKEN, Verdict, acknowledgement
from imex.hl7.message import Message, MessageUnreadable, read, read_header
from imex.ingest.association import Carried, Peer
from imex.ingest.decide import refusal
from imex.ingest.hl7.objects import EXPLICIT, Instance, Sent, instances_of
from imex.ingest.hl7.places import Place
from imex.ingest.hl7.report import Unfit, read_report
from imex.ingest.hl7.senders import Known, Unknown, identify
from imex.ingest.limits.limiter import Overfull
from imex.ingest.ports import Surroundings
from imex.ingest.received import AE_CHARS, Origin, clean
from imex.ingest.sink import SUCCESS, InstanceSink

log = structlog.get_logger(__name__)

_PIECE = 1024 * 1024
_UNKNOWN = "204"
_INTERNAL = "207"


def later(words: str) -> Verdict:
    """It can be sent again as it is."""
    return Verdict("AE", words, _INTERNAL)


class Taking:
    """Takes the messages of one connection."""

    def __init__(
        self,
        around: Surroundings,
        place: Place,
        once_more: Callable[[], bool],
        peer_host: str,
        certificate: CertificateFacts | None = None,
    ) -> None:
        """`place` gets to know whether the sender is known.

        `once_more`: whether what a stranger does is told of, too.
        `certificate`: what the peer has shown on the TLS port.
        """
        self._around = around
        self._place = place
        self._once_more = once_more
        self._host = peer_host
        self._certificate = certificate

    async def take(self, data: bytes) -> bytes:
        """One message; its acknowledgement. Never raises because of what it holds."""
        message: Message | None = None
        try:
            message = read_header(data)
            verdict = await self._taken(message, data)
        except MessageUnreadable as error:
            verdict = Verdict("AR", str(error), "100")
        except Unfit as unfit:
            verdict = unfit.verdict
        except Exception:
            log.exception("report not taken")
            verdict = later("it could not be taken: send it again")
        if verdict.code != "AA" and (self._place.known or self._once_more()):
            log.info("report not taken", code=verdict.code, reason=verdict.words)
        return acknowledgement(message, verdict, self._around.now(), self._around.own_ae_title)

    async def _taken(self, header: Message, data: bytes) -> Verdict:
        around = self._around
        index = around.directory()
        if index is None:
            return later("there is no directory yet: send it again later")
        known = identify(index, around.own_ae_title, header, self._host, self._certificate)
        self._place.known |= known.source is not None
        if isinstance(known, Unknown):
            if known.source is not None or self._once_more():
                self._turned(header, known.words)
            return Verdict("AR", known.words, _UNKNOWN, known.at)
        if self._certificate is not None:
            around.certificate_shown(known.source, self._certificate)
        uncovered = refusal(index, known.source, known.called, around.now())
        if uncovered is not None:
            self._turned(header, uncovered)
            return Verdict("AR", uncovered, _UNKNOWN, "MSH^1^6")
        crowded = around.traffic.crowded(known.source)
        if crowded is not None:
            around.limit_meters.refused(crowded[0], crowded[1], known.source)
            return later(f"the limit of {crowded[0]} ({crowded[1]}) is reached: send it again later")
        try:
            leave = await around.doors.enter(known.source)
        except Overfull as full:
            around.limit_meters.refused("associations", full.scope, known.source)
            return later(f"the limit of associations ({full.scope}) is reached: send it again later")
        try:
            message = await asyncio.to_thread(read, data)  # of a known sender alone: it costs
            return await self._stored(index, message, known)
        finally:
            leave()

    async def _stored(self, index: DirectoryIndex, message: Message, known: Known) -> Verdict:
        around = self._around
        sent = Sent(known.source, message.header.text(3), message.header.text(4))
        instances = await asyncio.to_thread(lambda: instances_of(read_report(message), sent))
        origin = Origin(
            association=around.new_id(),
            source=known.source,
            called=known.called,
            calling_ae=known.ae_title,
            called_ae=known.called.code if isinstance(known.called, Recipient) else around.own_ae_title,
        )
        carried = Carried(around, origin, Peer(self._host, self._details(message)), around.now())
        around.meters.opened()
        stored, words = 0, ""
        try:
            for number, instance in enumerate(instances):
                response = await self._store(index, origin, carried, number, instance)
                if response.status != SUCCESS:
                    words = response.comment
                    break
                stored += 1
        finally:
            failed = len(instances) - stored
            size = sum(len(one.data) for one in instances)
            ended = Ended(kind="released", reason="complete", stored=stored, failed=failed, bytes=size)
            around.meters.ended(ended.kind)
            carried.end(ended)
        log.info("report taken", association=str(origin.association), source=known.source, instances=stored)
        return later(f"{words}: send it again later") if words else TAKEN

    async def _store(
        self, index: DirectoryIndex, origin: Origin, carried: Carried, number: int, instance: Instance
    ) -> StoreResponse:
        command = StoreCommand(
            message_id=number + 1,
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            transfer_syntax=EXPLICIT,
        )
        sink = InstanceSink(self._around, origin, command, index, carried)
        try:
            view = memoryview(instance.data)
            for at in range(0, len(view), _PIECE):
                await sink.write(view[at : at + _PIECE])
        except BaseException:
            await sink.abort()
            raise
        return await sink.commit()

    def _details(self, message: Message) -> Mapping[str, str]:
        names = {"application": message.header.text(3), "facility": message.header.text(4)}
        shown = {"certificate": f"sha256:{self._certificate.fingerprint}"} if self._certificate else {}
        return {"via": "hl7", **{name: clean(value, 180) for name, value in names.items()}, **shown}

    def _turned(self, message: Message, words: str) -> None:
        attempt = self._around.new_id()
        self._around.background.offer(
            AuditRecorded.of(
                id=caused_id(attempt, AuditRecorded.type_name(), "association_rejected"),
                subject=f"association/{attempt}",
                time=self._around.now(),
                data=AuditRecordedData(
                    action="association_rejected",
                    outcome="refused",
                    actor=Actor(kind="unknown", id=clean(message.header.text(3), AE_CHARS)),
                    reason=clean(words),
                    details=dict(self._details(message)),
                    personal={"address": self._host},
                ),
            )
        )
