"""Inboxes of the portal: the payload stays where it is; what is changed becomes an object of its own."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from uuid_utils.compat import uuid7

from imex.delivery.decide import Answer, Placed, Verdict
from imex.delivery.jobs import Instance
from imex.delivery.payloads import Payload
from imex.delivery.targets import CannotDeliver, Context, Refused
from imex.delivery.targets.proposals import name
from imex.dicom import file_meta
from imex.directory.model import Accepts, Endpoint
from imex.storage import ObjectStore, StoreError, StoreFull, StoreRefused
from imex.storage.keys import INBOX_PREFIX

ADDRESS: Final = "inbox"
"""How receipts and audit records name it."""


def new_key() -> str:
    """Of an object that is written for an inbox: nobody else's, and never written twice."""
    return f"{INBOX_PREFIX}{datetime.now(UTC):%Y-%m-%d}/{uuid7()}"


class InboxTarget:
    """Puts instances where people of the recipient read them."""

    keeps = False

    def __init__(self, store: ObjectStore, key: Callable[[], str] = new_key) -> None:
        """`store` is where payloads are."""
        self._store = store
        self._key = key

    def address(self, endpoint: Endpoint) -> str:
        """The same for all."""
        return ADDRESS

    def place(self, endpoint: Endpoint) -> str:
        """The same for all: nothing is learnt of it."""
        return ADDRESS

    def refusal(self, endpoint: Endpoint, context: Context, refused: Refused) -> str:
        """What the directory says; an inbox itself takes everything."""
        return refusal(endpoint.accepts, context)

    def kept(self, endpoint: Endpoint) -> int:
        """Nothing is kept open."""
        return 0

    async def close(self) -> None:
        """Nothing is kept open."""

    @asynccontextmanager
    async def open(
        self, endpoint: Endpoint, contexts: Sequence[Context], refused: Refused, *, keep: bool
    ) -> AsyncIterator["InboxSession"]:
        """A session for whatever has no refusal."""
        yield InboxSession(self._store, endpoint.accepts, self._key)


class InboxSession:
    """Puts one instance after the other."""

    reused = False

    def __init__(self, store: ObjectStore, accepts: Accepts, key: Callable[[], str]) -> None:
        """`key` names new objects."""
        self.learnt: Refused = {}
        self._store = store
        self._accepts = accepts
        self._key = key

    def covers(self, instance: Instance) -> bool:
        """One session is for everything."""
        return True

    def refusal(self, instance: Instance) -> str:
        """What the directory says."""
        return refusal(self._accepts, instance.context)

    async def send(self, instance: Instance, payload: Payload) -> Answer:
        """Make sure that the reader will find it; delivery records where in one transaction with the outcome.

        What is stored has been read and its digest compared before it is confirmed, whatever its size. What
        is changed is written as a new object, so that a reader never gets the bytes of the original.
        """
        try:
            if payload.changes:
                return await self._keep_changed(instance, payload)
            async for _ in payload.pieces():
                pass
        except StoreError as error:
            raise CannotDeliver(_words(error)) from error
        placed = Placed(
            instance.object_key, instance.sop_instance_uid, instance.size, instance.digest, own=False
        )
        return Answer(Verdict.CONFIRMED, "", placed=placed)

    async def _keep_changed(self, instance: Instance, payload: Payload) -> Answer:
        key = self._key()
        meta = file_meta(instance.sop_class_uid, payload.sop_instance_uid, instance.transfer_syntax)
        if payload.whole is not None:
            await self._store.put(key, b"".join((meta, payload.whole)))
        else:
            await self._stream(key, meta, payload)
        digest = payload.delivered_digest
        placed = Placed(key, payload.sop_instance_uid, payload.size, digest, own=True)
        return Answer(Verdict.CONFIRMED, "", delivered_digest=digest, changes=payload.changes, placed=placed)

    async def _stream(self, key: str, meta: bytes, payload: Payload) -> None:
        upload = self._store.open_put(key)
        try:
            await upload.write(meta)
            async for piece in payload.pieces():
                await upload.write(piece)
            await upload.commit()
        except BaseException:
            await upload.abort()
            raise


def _words(error: StoreError) -> str:
    match error:
        case StoreFull():
            return "the object store is full"
        case StoreRefused():
            return "the object store refuses what is to be written: delivery may not write for inboxes"
        case _:
            return "the object store is not available"


def refusal(accepts: Accepts, context: Context) -> str:
    """Why the directory's entry does not take instances of this kind, in words; empty when it does."""
    sop_class, syntax = context
    if accepts.sop_classes is not None and sop_class not in accepts.sop_classes:
        return f"the recipient's directory entry does not accept {name(sop_class)}"
    if accepts.transfer_syntaxes is not None and syntax not in accepts.transfer_syntaxes:
        return f"the recipient's directory entry does not accept {name(sop_class)} in {name(syntax)}"
    return ""
