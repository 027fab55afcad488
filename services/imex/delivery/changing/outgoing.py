"""A payload that is not sent as it is stored: another head before the same bulk."""

import hashlib
from collections.abc import AsyncGenerator

from imex.delivery.changing.facts import Given
from imex.delivery.changing.split import Parts
from imex.delivery.payloads import Payload


class Changed(Payload):
    """The data set that the recipient gets. Its digest is known once it has been read to its end."""

    def __init__(
        self,
        source: Payload,
        head: bytes,
        parts: Parts,
        *,
        sop_instance_uid: str,
        changes: tuple[str, ...],
        given: Given | None = None,
        study_uid: str = "",
    ) -> None:
        """`source` is the stored one, and `parts` what it was split into."""
        whole = None
        if parts.held is not None:
            whole = memoryview(head + bytes(parts.held)) if parts.held else memoryview(head)
        super().__init__(source.store, source.instance, whole)
        self._head = head
        self._parts = parts
        self._size = len(head) + parts.length if whole is None else len(whole)
        self._uid = sop_instance_uid
        self._study_uid = study_uid
        self.changes = changes
        self.given = given
        self._digest = _digest(whole) if whole is not None else ""

    @property
    def sop_instance_uid(self) -> str:
        """Under which it is sent."""
        return self._uid

    @property
    def study_uid(self) -> str:
        """The study of which it is sent; empty where that is its own."""
        return self._study_uid

    @property
    def size(self) -> int:
        """Bytes of the data set that is sent."""
        return self._size

    @property
    def delivered_digest(self) -> str:
        """Of the data set that is sent; empty before it is known."""
        return self._digest

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        """The data set in pieces, once. The last one is held back until what is stored has proved whole."""
        whole = self._whole
        if whole is not None:
            yield whole
            return
        digest = hashlib.sha256()
        held: bytes | memoryview = self._head
        assert self._parts.coming is not None
        async for piece in self._parts.coming:
            digest.update(held)
            yield held
            held = piece
        digest.update(held)
        self._digest = "sha256:" + digest.hexdigest()
        yield held


def _digest(data: bytes | memoryview) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
