"""DICOM nodes: C-STORE over associations (PS3.4 annex B), which serve one delivery after the other."""

import asyncio
import hashlib
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Final

from imex.delivery.conversion import CannotConvert, Converter, told
from imex.delivery.decide import Answer, Verdict, judge_status
from imex.delivery.jobs import Instance
from imex.delivery.payloads import Payload
from imex.delivery.targets import CannotDeliver, Context, Refused
from imex.delivery.targets.associations import Associations, Node, Open
from imex.delivery.targets.proposals import Proposal, beside, candidates, name, propose, refusal
from imex.dimse import (
    Association,
    AssociationRejected,
    ContextNotAccepted,
    DimseError,
    Limits,
    open_association,
)
from imex.dimse.statuses import words
from imex.dimse.tls import TlsFilesInvalid
from imex.directory.model import Accepts, DicomEndpoint, Endpoint
from imex.outbound import Outbound

_ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
_REMEMBERED_NODES: Final = 256
_REMEMBERED_CONTEXTS: Final = 32


class DicomTarget:
    """Opens associations to DICOM nodes."""

    def __init__(
        self,
        calling_ae: str,
        limits: Limits,
        *,
        associations: Associations | None = None,
        converter: Converter | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        outbound: Outbound | None = None,
    ) -> None:
        """`calling_ae` is Imex's own AE title; `tls` gives the context for nodes that want TLS.

        `outbound` says where it may connect to.
        """
        self._calling_ae = calling_ae
        self._limits = limits
        self._associations = associations or Associations(0, 0)
        self._converter = converter or Converter()
        self._tls = tls
        self._outbound = outbound or Outbound()
        self._earlier: OrderedDict[Node, tuple[Context, ...]] = OrderedDict()

    def address(self, endpoint: Endpoint) -> str:
        """The node's AE title."""
        return _endpoint(endpoint).ae_title

    def place(self, endpoint: Endpoint) -> str:
        """The node's AE title, host and port."""
        return str(_node(endpoint))

    def refusal(self, endpoint: Endpoint, context: Context, refused: Refused) -> str:
        """Why nothing is to be proposed for instances of this kind."""
        return refusal(endpoint.accepts, refused, context)

    def kept(self, endpoint: Endpoint) -> int:
        """Associations with the node that are open and not used."""
        return self._associations.kept(_node(endpoint))

    @property
    def keeps(self) -> bool:
        """Whether any association is open and not used."""
        return self._associations.any

    async def close(self) -> None:
        """Release what is kept open."""
        await self._associations.close()

    @asynccontextmanager
    async def open(
        self, endpoint: Endpoint, contexts: Sequence[Context], refused: Refused, *, keep: bool
    ) -> AsyncIterator["DicomSession"]:
        """One association, kept or new, with a context for each pair of SOP class and transfer syntax.

        One transfer syntax a context, so that the node cannot choose another than the stored one where it
        takes that.
        """
        node = _node(endpoint)
        proposal = propose(endpoint.accepts, refused, contexts, self._earlier.get(node, ()))
        kept = await self._associations.take(node, proposal.needed)
        one = kept or Open(node, await self._connect(node, proposal), frozenset(proposal.contexts))
        self._remember(node, proposal)
        try:
            yield DicomSession(
                one.association, proposal, endpoint.accepts, refused, self._converter, reused=kept is not None
            )
        except BaseException:
            one.association.abort()
            raise
        if keep:
            await self._associations.give_back(one)
        else:
            await one.association.release()

    async def _connect(self, node: Node, proposal: Proposal) -> Association:
        contexts = [(sop_class, (syntax,)) for sop_class, syntax in proposal.contexts]
        try:
            return await open_association(
                node.host,
                node.port,
                self._calling_ae,
                node.ae_title,
                contexts,
                self._limits,
                tls=self._context(node),
                addresses=self._outbound.addresses,
            )
        except AssociationRejected as error:
            permanent = error.result == 1
            raise CannotDeliver(str(error), lasting=permanent) from error
        except DimseError as error:
            raise CannotDeliver(str(error)) from error

    def _context(self, node: Node) -> ssl.SSLContext | None:
        if not node.tls:
            return None
        if self._tls is None:
            raise CannotDeliver(f"{node} asks for TLS, and IMEX_DELIVERY_TLS_CA is not set")
        try:
            return self._tls()
        except TlsFilesInvalid as error:
            raise CannotDeliver(f"TLS cannot be used: {error}") from error

    def _remember(self, node: Node, proposal: Proposal) -> None:
        self._earlier[node] = proposal.contexts[:_REMEMBERED_CONTEXTS]
        self._earlier.move_to_end(node)
        if len(self._earlier) > _REMEMBERED_NODES:
            self._earlier.popitem(last=False)


class DicomSession:
    """One association to a DICOM node."""

    def __init__(
        self,
        association: Association,
        proposal: Proposal,
        accepts: Accepts,
        refused: Refused,
        converter: Converter,
        *,
        reused: bool,
    ) -> None:
        """The association knows which of the contexts of `proposal` were accepted."""
        self._association = association
        self._covered = proposal.covered
        self._accepts = accepts
        self._refused = refused
        self._converter = converter
        self._chosen: dict[Context, str] = {}
        self.reused = reused
        self.learnt = {} if reused else _learnt(association.refused)

    def covers(self, instance: Instance) -> bool:
        """Whether presentation contexts were proposed for it."""
        return instance.context in self._covered

    def refusal(self, instance: Instance) -> str:
        """Why there is no accepted presentation context for it."""
        if self._syntax(instance.context):
            return ""
        sop_class, stored = instance.context
        return self.learnt.get(
            (sop_class, "")
        ) or f"the destination does not accept {name(sop_class)} in {name(stored)}" + beside(
            self._accepts, {**self._refused, **self.learnt}, instance.context
        )

    async def send(self, instance: Instance, payload: Payload) -> Answer:
        """C-STORE. The Error Comment is left out of the answer: a peer may put anything there."""
        syntax = self._syntax(instance.context)
        try:
            if syntax == instance.transfer_syntax:
                answer = await self._store(payload, syntax)
                return _told(answer, payload, payload.delivered_digest) if payload.changes else answer
            data = await self._converter.convert(payload, syntax)
            answer = await self._store(payload, syntax, data)
            answer = _told(
                answer,
                payload,
                await asyncio.to_thread(_digest, data),
                told(instance.transfer_syntax, syntax, name),
            )
        except ContextNotAccepted:
            return Answer(Verdict.FAILED, "", self.refusal(instance))
        except CannotConvert as error:
            why = f"the destination does not accept {name(instance.transfer_syntax)}, and {error}"
            return Answer(Verdict.FAILED, "", why)
        if answer.verdict is Verdict.CONFIRMED and not answer.reason:
            return replace(answer, reason=f"sent in {name(syntax)}")
        return answer

    async def _store(self, payload: Payload, syntax: str, rewritten: memoryview | None = None) -> Answer:
        whole = payload.whole if rewritten is None else rewritten
        uids = (payload.instance.sop_class_uid, payload.sop_instance_uid, syntax)
        try:
            if whole is not None:
                response = await self._association.store(*uids, whole, len(whole))
            else:
                async with aclosing(payload.chunks()) as chunks:
                    response = await self._association.store(*uids, chunks, payload.size)
        except ContextNotAccepted:
            raise
        except DimseError as error:
            raise CannotDeliver(str(error), in_doubt=True) from error
        return judge_status(response.status, words(response.status))

    def _syntax(self, context: Context) -> str:
        """The first candidate that was accepted; empty when none was."""
        if (found := self._chosen.get(context)) is None:
            found = next(
                (
                    syntax
                    for syntax in candidates(self._accepts, self._refused, context)
                    if self._association.accepts(context[0], syntax)
                ),
                "",
            )
            self._chosen[context] = found
        return found


def _told(answer: Answer, payload: Payload, digest: str, *more: str) -> Answer:
    """The answer, with what was sent instead of what is stored."""
    return replace(answer, delivered_digest=digest, changes=(*payload.changes, *more))


def _digest(data: memoryview) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _learnt(refused: Mapping[Context, int]) -> dict[Context, str]:
    """What is to be remembered of the contexts that were not accepted."""
    found: dict[Context, str] = {}
    for (sop_class, syntax), outcome in refused.items():
        if outcome == _ABSTRACT_SYNTAX_NOT_SUPPORTED:
            found[sop_class, ""] = f"the destination does not accept {name(sop_class)}"
        else:
            found[sop_class, syntax] = f"the destination does not accept {name(sop_class)} in {name(syntax)}"
    return found


def _node(endpoint: Endpoint) -> Node:
    node = _endpoint(endpoint)
    return Node(node.host, node.port, node.ae_title, node.tls)


def _endpoint(endpoint: Endpoint) -> DicomEndpoint:
    if not isinstance(endpoint, DicomEndpoint):
        raise CannotDeliver(f"endpoint {endpoint.name} is no DICOM node")
    return endpoint
