"""Changing the payloads of one delivery, as it was decided."""

import asyncio
from dataclasses import dataclass
from typing import Final

from imex.delivery.changing.coerced import Coercer
from imex.delivery.changing.decide import (
    Asked,
    CannotChange,
    Change,
    Coercion,
    MayNotLeave,
    Returned,
    change_for,
)
from imex.delivery.changing.deidentified import Deidentifier
from imex.delivery.changing.encode import deflated
from imex.delivery.changing.form import Form, New
from imex.delivery.changing.keys import Keys
from imex.delivery.changing.ledger import Ledger
from imex.delivery.changing.outgoing import Changed
from imex.delivery.changing.reidentified import Reidentifier
from imex.delivery.changing.split import Parts, split
from imex.delivery.jobs import Job
from imex.delivery.payloads import Payload, PayloadBroken, Prepare
from imex.dicom.syntax import encoding_of
from imex.directory import DirectoryIndex
from imex.directory.model import Endpoint, Hl7Endpoint
from imex.directory.policies import Deidentification
from imex.sealing import Sealer

MOST_HEAD_BYTES: Final = 64 << 20
_AT_A_TIME: Final = 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is changed at a time. Bytes of what stands before the pixel data, and instances."""

    head_bytes: int = MOST_HEAD_BYTES
    at_a_time: int = _AT_A_TIME


class Changers:
    """Decides for each delivery what changes, and makes what changes it."""

    def __init__(self, ledger: Ledger, sealer: Sealer, keys: Keys, bounds: Bounds | None = None) -> None:
        """`bounds` are of the whole process."""
        self._ledger = ledger
        self._sealer = sealer
        self._keys = keys
        self._bounds = bounds or Bounds()
        self._turns = asyncio.Semaphore(self._bounds.at_a_time)
        self._large = asyncio.Lock()

    async def of(self, job: Job, directory: DirectoryIndex, endpoint: Endpoint) -> Prepare | None:
        """What payloads of a delivery go through; None where they go as they are stored.

        Raises:
            MayNotLeave: nothing of it may be sent now.
        """
        ties = await self._ledger.ties(job)
        asked = Asked(
            source=job.source,
            recipient=job.recipient,
            agreement=job.agreement,
            begun=job.deidentify,
            identity=endpoint.identity,
            returned=ties.returned,
            reverse=ties.reverse,
        )
        change = change_for(directory, asked)
        if isinstance(endpoint, Hl7Endpoint) and isinstance(change, Deidentification):
            raise MayNotLeave("what says who somebody is goes to nobody who gets it de-identified")
        if change is None or isinstance(endpoint, Hl7Endpoint):
            return None
        if isinstance(change, Deidentification) and job.deidentify is None:
            await self._ledger.begin(job, change.model_dump(mode="json"))
        form = await self._form(job, change)
        return Changer(form, self._turns, self._bounds.head_bytes, self._large)

    async def _form(self, job: Job, change: Change) -> Form:
        match change:
            case Deidentification():
                key = await self._keys.of(change.project)
                return Deidentifier(job, change, key, self._sealer)
            case Returned():
                return Reidentifier(change, self._ledger, self._sealer, job)
            case Coercion():
                return Coercer(job, change, self._ledger)


class Changer:
    """Gives payloads their new form, few at a time over all deliveries, so that memory is bounded."""

    def __init__(
        self, form: Form, turns: asyncio.Semaphore, head_bytes: int, large: asyncio.Lock | None = None
    ) -> None:
        """`turns` are shared by all, and `large` by those whose data set is not held whole."""
        self._large = large or asyncio.Lock()
        self._form = form
        self._turns = turns
        self._most = head_bytes

    async def __call__(self, payload: Payload) -> Payload:
        """The payload to send; one that is `broken` where it cannot be, or must not.

        Raises:
            StoreError, and what the database raises: it can be tried again.
        """
        if payload.broken:
            return payload
        try:
            async with self._turns:
                if payload.whole is not None:
                    return await self._changed(payload)
                async with self._large:  # its head may be large too
                    return await self._changed(payload)
        except (CannotChange, PayloadBroken) as error:
            return Payload(payload.store, payload.instance, None, str(error))

    async def _changed(self, payload: Payload) -> Payload:
        encoding = encoding_of(payload.instance.transfer_syntax)
        if encoding.deflated and encoding.encapsulated:
            raise CannotChange("its transfer syntax cannot be changed in")
        parts = await split(payload, encoding, self._most, tail=self._form.keeps_tail)
        try:
            new = await self._form.of(parts, encoding)
        except BaseException:
            await parts.close()
            raise
        if new is None:
            await parts.close()
            return payload
        if encoding.deflated:
            packed = await asyncio.to_thread(deflated, new.head + bytes(parts.held or b""))
            return _payload(payload, packed, Parts(b"", parts.pixels, 0, memoryview(b"")), new)
        return _payload(payload, new.head, parts, new)


def _payload(source: Payload, head: bytes, parts: Parts, new: New) -> Changed:
    return Changed(
        source,
        head,
        parts,
        sop_instance_uid=new.sop_instance_uid,
        changes=new.changes,
        given=new.given,
        study_uid=new.study_uid,
    )
