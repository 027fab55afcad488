"""DICOM nodes: C-STORE over one association (PS3.4 annex B)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from imex.delivery.decide import Answer, Verdict, judge_status
from imex.delivery.jobs import Instance
from imex.delivery.targets import CannotDeliver, Context
from imex.dimse import Association, ContextNotAccepted, DimseError, Limits, connect
from imex.dimse.statuses import words
from imex.directory.model import DicomEndpoint, Endpoint


class DicomTarget:
    """Opens associations to DICOM nodes."""

    def __init__(self, calling_ae: str, limits: Limits) -> None:
        """`calling_ae` is Imex's own AE title."""
        self._calling_ae = calling_ae
        self._limits = limits

    def address(self, endpoint: Endpoint) -> str:
        """The node's AE title."""
        return _node(endpoint).ae_title

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, contexts: Sequence[Context]) -> AsyncIterator["DicomSession"]:
        """One association, with a presentation context for each pair of SOP class and transfer syntax.

        One transfer syntax a context, so that the node cannot choose another than the stored one.
        """
        node = _node(endpoint)
        if node.tls:
            raise CannotDeliver(f"endpoint {node.name} asks for TLS, which is not supported yet")
        proposed = [(sop_class, (transfer_syntax,)) for sop_class, transfer_syntax in contexts]
        # errors of the block are not the association's, which ends by itself when it is left
        try:
            opening = connect(node.host, node.port, self._calling_ae, node.ae_title, proposed, self._limits)
            association = await opening.__aenter__()
        except DimseError as error:
            raise CannotDeliver(str(error)) from error
        try:
            yield DicomSession(association, contexts)
        except BaseException:
            association.abort()
            raise
        await opening.__aexit__(None, None, None)


class DicomSession:
    """One association to a DICOM node."""

    def __init__(self, association: Association, contexts: Sequence[Context]) -> None:
        """`contexts` were proposed; the association knows which were accepted."""
        self._association = association
        self._proposed = frozenset(contexts)

    def covers(self, instance: Instance) -> bool:
        """Whether a presentation context was proposed for it."""
        return instance.context in self._proposed

    def refusal(self, instance: Instance) -> str:
        """Why there is no accepted presentation context for it."""
        if self._association.accepts(*instance.context):
            return ""
        kind, syntax = _name(instance.sop_class_uid), _name(instance.transfer_syntax)
        return f"the destination does not accept {kind} in {syntax}"

    async def send(self, instance: Instance, chunks: AsyncIterator[bytes | memoryview]) -> Answer:
        """C-STORE. The Error Comment is left out of the answer: a peer may put anything there."""
        try:
            response = await self._association.store(
                instance.sop_class_uid,
                instance.sop_instance_uid,
                instance.transfer_syntax,
                chunks,
                instance.size,
            )
        except ContextNotAccepted:
            return Answer(Verdict.FAILED, "", self.refusal(instance))
        except DimseError as error:
            raise CannotDeliver(str(error)) from error
        return judge_status(response.status, words(response.status))


def _node(endpoint: Endpoint) -> DicomEndpoint:
    if not isinstance(endpoint, DicomEndpoint):
        raise CannotDeliver(f"endpoint {endpoint.name} is no DICOM node")
    return endpoint


def _name(uid: str) -> str:
    """A UID with its name in PS3.6, where it has one."""
    from pydicom.uid import UID  # half a second of imports, for refusals only

    name = UID(uid).name
    return uid if name == uid else f"{name} ({uid})"
