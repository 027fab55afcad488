"""A DICOM node: an association, C-ECHO, what it takes, and a study of nobody there and back."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, Final

from imex.delivery.endpoint_tests.offered import EXPLICIT, IMPLICIT, to_ask
from imex.delivery.endpoint_tests.steps import Finding, failed, ok, skipped, warning
from imex.delivery.targets.proposals import name
from imex.dicom.specimen import DESCRIPTION, PATIENT_ID, SECONDARY_CAPTURE, Specimen, specimen
from imex.dimse import Association, AssociationRejected, DimseError, Limits, open_association
from imex.dimse.sop_classes import VERIFICATION
from imex.dimse.statuses import is_stored, words
from imex.directory.model import DicomEndpoint
from imex.outbound import Outbound
from imex.outbound.bounded import Bounded

LIMITS: Final = Limits(connect_s=10, associate_s=15, response_s=30, release_s=5)
ECHOES: Final = 5
IMAGES: Final = 3
SIDE: Final = 512
FOUND_WITHIN_S: Final = 15.0
_STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_MOST_BYTES: Final = 1 << 20  # that a node may answer to the query for a study of a few images
_CALLING, _CALLED = (1, 3), (1, 7)
_BUSY: Final = frozenset({(3, 1), (3, 2)})


@dataclass(slots=True)
class Node:
    """One node that is being looked at. `close` when all is done."""

    endpoint: DicomEndpoint
    calling_ae: str
    tls: Callable[[], ssl.SSLContext] | None
    outbound: Outbound = field(default_factory=Outbound)
    association: Association | None = None
    sent: Specimen | None = None
    stored: list[str] = field(default_factory=list)

    async def associate(self) -> Finding:
        """An association with everything that is to be asked for."""
        node = self.endpoint
        try:
            self.association = await open_association(
                node.host,
                node.port,
                self.calling_ae,
                node.ae_title,
                to_ask(node.accepts),
                LIMITS,
                tls=self.tls() if self.tls is not None else None,
                addresses=self.outbound.addresses,
            )
        except AssociationRejected as error:
            return failed(str(error), self._advice(error))
        except DimseError as error:
            return failed(str(error), "Look at the node's log for an association from this AE title.")
        peer = self.association
        version = peer.peer_implementation_version or peer.peer_implementation_uid or "an unnamed one"
        return ok(
            f"{node.ae_title} accepts associations from {self.calling_ae}; its implementation is {version}",
            implementation=peer.peer_implementation_version,
            implementation_uid=peer.peer_implementation_uid,
        )

    def _advice(self, error: AssociationRejected) -> str:
        reason = (error.source, error.reason)
        if reason == _CALLED:
            return f"The node's AE title is not {self.endpoint.ae_title}: correct it in the directory."
        if reason == _CALLING:
            return f"Make the node know the AE title {self.calling_ae} and the address that Imex sends from."
        if reason in _BUSY:
            return "The node has no association free: try again, and give max_associations in the directory."
        return f"Look at the node's log for what it has against {self.calling_ae}."

    async def echo(self) -> Finding:
        """C-ECHO a few times: the median says how far away the node is."""
        assert self.association is not None
        if not self.association.accepts(VERIFICATION, IMPLICIT):
            return warning(
                "the node does not offer Verification", "Switch C-ECHO on, so that tests can use it."
            )
        took = []
        try:
            for _ in range(ECHOES):
                begun = time.monotonic()
                status = await self.association.echo()
                took.append((time.monotonic() - begun) * 1000)
                if status:
                    return failed(
                        f"C-ECHO is answered {words(status)}", "Look at the node's log.", ends=False
                    )
        except DimseError as error:
            return failed(f"C-ECHO: {error}", "Look at the node's log.")
        middle = round(median(took), 1)
        return ok(f"{ECHOES} answered, {middle} ms in the median", echo_ms=middle)

    async def contexts(self) -> Finding:
        """Which SOP classes it takes in which transfer syntaxes."""
        assert self.association is not None
        table: dict[str, list[str]] = {}
        for sop_class, (syntax,) in to_ask(self.endpoint.accepts):
            if sop_class != VERIFICATION:
                found = table.setdefault(sop_class, [])
                if self.association.accepts(sop_class, syntax):
                    found.append(syntax)
        rows = [
            {"sop_class": name(one), "transfer_syntaxes": [name(syntax) for syntax in found]}
            for one, found in table.items()
        ]
        taken = sum(1 for found in table.values() if found)
        if not taken:
            advice = "Switch storage on for Imex's AE title, for the SOP classes that are to be received."
            return failed("no storage SOP class is accepted", advice, accepted=rows)
        listed = self.endpoint.accepts.sop_classes or ()
        if missing := [name(one) for one in listed if not table.get(one)]:
            advice = "Have the node accept them, or take them out of the directory."
            told = f"the directory lists what the node does not accept: {', '.join(missing[:5])}"
            return warning(told, advice, accepted=rows)
        return ok(f"{taken} of {len(table)} SOP classes that were asked for are accepted", accepted=rows)

    async def store(self) -> Finding:
        """A study of nobody."""
        assert self.association is not None
        taken = (
            syntax for syntax in (EXPLICIT, IMPLICIT) if self.association.accepts(SECONDARY_CAPTURE, syntax)
        )
        syntax = next(taken, None)
        if syntax is None:
            return warning(
                "the test study was not sent: the node does not accept Secondary Capture Image Storage",
                "Nothing is wrong if the node is not meant to.",
            )
        self.sent = await asyncio.to_thread(partial(specimen, IMAGES, transfer_syntax=syntax, side=SIDE))
        begun = time.monotonic()
        for one in self.sent.instances:
            try:
                answer = await self.association.store(
                    one.sop_class_uid, one.sop_instance_uid, syntax, memoryview(one.dataset), len(one.dataset)
                )
            except DimseError as error:
                return failed(f"C-STORE: {error}", "Look at the node's log for this association.")
            if not is_stored(answer.status):
                return failed(
                    f"C-STORE is answered {words(answer.status)}",
                    "Look at the node's log for the reason: room, rights, or what it asks of a data set.",
                    ends=not self.stored,
                )
            self.stored.append(one.sop_instance_uid)
        return sent_words(self.sent, time.monotonic() - begun)

    async def find(self) -> Finding:
        """The study again, by C-FIND."""
        if not self.stored or self.sent is None:
            return skipped("nothing was sent that could be found")
        await self.close()  # a node may take one association at a time
        end = time.monotonic() + FOUND_WITHIN_S
        while True:
            found = await asyncio.to_thread(self._ask, self.sent.study_uid)
            if isinstance(found, str):
                return warning(
                    f"it could not be asked for: {found}",
                    "Without C-FIND for Imex's AE title only the answer to a C-STORE says what is held.",
                )
            missing = [one for one in self.stored if one not in found]
            if not missing or time.monotonic() > end:
                break
            await asyncio.sleep(1.0)
        return found_words(len(self.stored) - len(missing), len(self.stored))

    def _ask(self, study_uid: str) -> set[str] | str:
        """SOP Instance UIDs of a study, or why they cannot be had. Blocks, within bounds."""
        from pydicom import Dataset
        from pynetdicom import AE, evt

        node = self.endpoint
        entity: Any = AE(ae_title=self.calling_ae)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
        entity.add_requested_context(_STUDY_ROOT_FIND)
        tls = (self.tls(), node.host) if self.tls is not None else None
        try:
            address = self.outbound.addresses_now(node.host, node.port)[0]
        except OSError as error:
            return error.strerror or "its name is not known"
        association = entity.associate(
            address,
            node.port,
            ae_title=node.ae_title,
            evt_handlers=[(evt.EVT_CONN_OPEN, Bounded(_MOST_BYTES))],
            tls_args=tls,
        )
        if not association.is_established:
            return "the node accepts no association for C-FIND"
        identifier = Dataset()
        identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "IMAGE", study_uid
        identifier.SeriesInstanceUID = identifier.SOPInstanceUID = ""
        found: set[str] = set()
        try:
            for status, match in association.send_c_find(identifier, _STUDY_ROOT_FIND):
                code = getattr(status, "Status", None)
                if code is None:
                    return "the node did not answer the query"
                if code in {0xFF00, 0xFF01} and match is not None:
                    found.add(str(match.get("SOPInstanceUID", "")))
                elif code:
                    return f"the query was answered {code:04X}"
        except (RuntimeError, ValueError) as error:
            return f"the query failed ({type(error).__name__})"
        finally:
            association.release()
        return found

    async def close(self) -> None:
        """Release the association."""
        if self.association is not None:
            await self.association.release()
            self.association = None


def sent_words(sent: Specimen, seconds: float) -> Finding:
    """What was sent, how fast, and that it stays there."""
    size = sum(len(one.dataset) for one in sent.instances)
    rate = round(size / max(seconds, 1e-6) / 1e6, 1)
    return ok(
        f"{len(sent.instances)} images of {DESCRIPTION!r} were stored at {rate} MB/s; "
        f"they stay there under the Patient ID {PATIENT_ID}",
        megabytes_per_s=rate,
        study_uid=sent.study_uid,
        images=len(sent.instances),
    )


def found_words(found: int, sent: int) -> Finding:
    """How much of what was sent is there."""
    if found == sent:
        return ok(f"all {sent} images are found", found=found)
    return failed(
        f"{found} of {sent} images are found after {FOUND_WITHIN_S:.0f} s, though all were confirmed",
        "Look where the node files what it gets: another archive, a holding area, a changed UID.",
        ends=False,
        found=found,
    )
