"""Other transfer syntaxes for nodes that refuse the stored one.

Uncompressed data sets are rewritten (`imex.dicom.rewriting`). Pixel data is decoded or encoded where the
endpoint allows that, and in a process of its own (`imex.delivery.transcoding`).
"""

import asyncio
from collections.abc import Callable

from imex.delivery.payloads import Payload
from imex.delivery.transcoding.transcoder import CannotTranscode, Transcoder
from imex.dicom.rewriting import EXPLICIT, IMPLICIT, MOST_BYTES, CannotRewrite, rewritable_to, rewrite


class CannotConvert(Exception):
    """A data set cannot be rewritten or transcoded; the words go on from "…, and "."""


def told(stored: str, wanted: str, name: Callable[[str], str]) -> str:
    """What was done to a data set, in words; `name` gives a syntax its name."""
    if wanted in rewritable_to(stored):
        return f"rewritten in {name(wanted)}"
    return f"transcoded from {name(stored)} to {name(wanted)}"


class Converter:
    """Rewrites one data set at a time, off the event loop, so that memory is bounded.

    Those that are transcoded wait for a turn of their own before they are read.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, transcoder: Transcoder | None = None) -> None:
        """Larger data sets are not rewritten. Without a transcoder pixel data stays as it is."""
        self._most_bytes = most_bytes
        self._transcoder = transcoder
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """End the processes that transcode."""
        if self._transcoder is not None:
            await self._transcoder.close()

    async def convert(self, payload: Payload, syntax: str) -> memoryview:
        """The data set in another transfer syntax.

        Raises:
            CannotConvert: it is too large, or cannot be read.
            PayloadBroken, StoreError: as reading it does.
        """
        stored = payload.instance.transfer_syntax
        if payload.size > self._most_bytes:
            raise CannotConvert(f"it is larger than the {self._most_bytes >> 20} MiB that are rewritten")
        if syntax in rewritable_to(stored):
            async with self._turn:
                whole = await _whole(payload)
                return await _rewritten(whole, stored, syntax, self._most_bytes)
        if self._transcoder is None:
            raise CannotConvert("it cannot be rewritten without loss")
        # in a line of its own: what decoders take long for holds up nobody else
        async with self._transcoder.turns:
            return await self._transcode(self._transcoder, await _whole(payload), stored, syntax)

    async def _transcode(
        self, transcoder: Transcoder, data: memoryview, stored: str, wanted: str
    ) -> memoryview:
        """By way of Explicit VR Little Endian, which is what codecs are given."""
        if stored == IMPLICIT:
            data = await _rewritten(data, stored, EXPLICIT, self._most_bytes)
            stored = EXPLICIT
        to = EXPLICIT if wanted == IMPLICIT else wanted
        try:
            made = await transcoder.transcode(data, stored, to)
        except CannotTranscode as error:
            raise CannotConvert(str(error)) from None
        if wanted == IMPLICIT:
            return await _rewritten(made, EXPLICIT, IMPLICIT, 2 * len(made))
        return made


async def _whole(payload: Payload) -> memoryview:
    if payload.whole is not None:
        return payload.whole
    return memoryview(b"".join([bytes(piece) async for piece in payload.pieces()]))


async def _rewritten(data: memoryview, stored: str, wanted: str, most_bytes: int) -> memoryview:
    try:
        return memoryview(await asyncio.to_thread(rewrite, data, stored, wanted, most_bytes))
    except CannotRewrite as error:
        raise CannotConvert(str(error)) from None
