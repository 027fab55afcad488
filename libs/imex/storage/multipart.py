"""An upload of unknown length: one PUT while it is small, S3 multipart once it is not."""

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from imex.storage import xml
from imex.storage.port import Buffer, ObjectNotFound, Stored, StoreError, StoreRefused

if TYPE_CHECKING:
    from imex.storage.minio_store import MinioStore


class S3Upload:
    """Holds at most two parts in memory: one that fills and one that is on its way."""

    def __init__(self, store: "MinioStore", key: str, metadata: Mapping[str, str]) -> None:
        self._store = store
        self._key = key
        self._metadata = metadata
        self._part_bytes = store.tuning.part_bytes
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0
        self._upload_id = ""
        self._etags: list[str] = []
        self._sending: asyncio.Task[None] | None = None
        self._over = False

    async def write(self, chunk: Buffer) -> None:
        """See :meth:`imex.storage.port.Upload.write`."""
        if self._over:
            raise StoreRefused("the upload is over")
        self._size += len(chunk)
        view = memoryview(chunk)
        while len(self._buffer) + len(view) > self._part_bytes:
            room = self._part_bytes - len(self._buffer)
            self._take(view[:room])
            view = view[room:]
            await self._send_part()
        self._take(view)

    def _take(self, piece: memoryview) -> None:
        self._buffer += piece
        self._digest.update(piece)

    async def _send_part(self) -> None:
        """Wait for the part before, then let this one go."""
        await self._settled()
        if not self._upload_id:
            self._upload_id = await self._begin()
        buffer, digest = self._buffer, self._digest.hexdigest()
        self._buffer, self._digest = bytearray(), hashlib.sha256()
        self._sending = asyncio.create_task(self._put_part(len(self._etags) + 1, buffer, digest))

    async def _settled(self) -> None:
        if self._sending is not None:
            sending, self._sending = self._sending, None
            await sending

    async def _begin(self) -> str:
        headers = {f"x-amz-meta-{name}": value for name, value in self._metadata.items()}
        body, _ = await self._store.call("POST", self._key, query={"uploads": ""}, headers=headers)
        upload_id = xml.upload_id(body)
        if not upload_id:
            raise StoreRefused("the object store began no multipart upload")
        return upload_id

    async def _put_part(self, number: int, data: bytearray, digest: str) -> None:
        query = {"partNumber": str(number), "uploadId": self._upload_id}
        _, headers = await self._store.call("PUT", self._key, query=query, body=data, sha256=digest)
        self._etags.append(headers.get("etag", ""))

    async def commit(self) -> Stored:
        """See :meth:`imex.storage.port.Upload.commit`."""
        if self._over:
            raise StoreRefused("the upload is over")
        if not self._upload_id:
            digest = self._digest.hexdigest()
            stored = await self._store.put_checked(self._key, self._buffer, self._metadata, digest)
            self._over = True
            return stored
        await self._send_part()
        await self._settled()
        stored = await self._complete()
        self._over = True
        return stored

    async def _complete(self) -> Stored:
        body = xml.completion(self._etags)
        try:
            answer, _ = await self._store.call(
                "POST",
                self._key,
                query={"uploadId": self._upload_id},
                body=body,
                sha256=hashlib.sha256(body).hexdigest(),
                within_s=self._store.tuning.complete_s,
                once=True,
            )
        except ObjectNotFound as error:
            raise StoreRefused("the multipart upload is gone") from error
        code = xml.error_code(answer)  # S3 may say 200 first and find the error afterwards
        if code:
            raise StoreRefused(f"the object store could not complete the upload: {code}")
        return Stored(self._key, self._size)

    async def abort(self) -> None:
        """See :meth:`imex.storage.port.Upload.abort`."""
        if self._over:
            return
        self._over = True
        self._buffer = bytearray()
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, StoreError):
                await self._sending
        if self._upload_id:
            with contextlib.suppress(StoreError):
                await self._store.call("DELETE", self._key, query={"uploadId": self._upload_id})
