"""The S3 adapter: MinIO, SeaweedFS, or anything else that speaks plain S3 with path-style addresses."""

import asyncio
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

from imex.settings import S3Settings
from imex.storage import xml
from imex.storage.http1 import HttpBroken, Pool, Request, Response
from imex.storage.multipart import S3Upload
from imex.storage.port import (
    Buffer,
    ObjectInfo,
    ObjectNotFound,
    Stored,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    Upload,
    checked_metadata,
)
from imex.storage.sigv4 import EMPTY_SHA256, UNSIGNED, Signer, encode_query
from imex.storage.tuning import StoreTuning

_META: Final = "x-amz-meta-"
_FULL_CODES: Final = frozenset({"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"})
_FIRST_PAUSE_S: Final = 0.05


class MinioStore:
    """One bucket of an S3 store. Build it inside a running event loop; close it at the end."""

    def __init__(
        self, settings: S3Settings, bucket: str | None = None, tuning: StoreTuning | None = None
    ) -> None:
        self._bucket = bucket or settings.bucket
        self.tuning = tuning or StoreTuning()
        self._pool = Pool(settings.endpoint, self.tuning.connections, self.tuning.connect_s)
        self._signer = Signer(
            settings.access_key, settings.secret_key.get_secret_value(), settings.region, self._pool.netloc
        )

    async def put(
        self, key: str, data: Buffer, metadata: Mapping[str, str] | None = None, sha256: str | None = None
    ) -> Stored:
        """See :meth:`imex.storage.port.ObjectStore.put`."""
        return await self.put_checked(key, data, checked_metadata(metadata), sha256)

    async def put_checked(
        self, key: str, data: Buffer, metadata: Mapping[str, str], sha256: str | None
    ) -> Stored:
        """One PUT whose body the server verifies: against its signed digest where the caller has one,
        otherwise against a CRC-32, which costs either side a third of what SHA-256 does.
        """
        headers = {_META + name: value for name, value in metadata.items()}
        headers["content-type"] = "application/octet-stream"
        if sha256 is None:
            headers["x-amz-checksum-crc32"] = b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        digest = sha256 or UNSIGNED
        _, answer = await self.call("PUT", key, headers=headers, body=data, sha256=digest)
        return Stored(key, len(data), answer.get("etag", "").strip('"'))

    def open_put(self, key: str, metadata: Mapping[str, str] | None = None) -> Upload:
        """See :meth:`imex.storage.port.ObjectStore.open_put`."""
        return S3Upload(self, key, checked_metadata(metadata))

    async def get(self, key: str) -> bytes:
        """See :meth:`imex.storage.port.ObjectStore.get`."""
        return bytes(await self.load(key))

    async def load(self, key: str) -> memoryview:
        """See :meth:`imex.storage.port.ObjectStore.load`."""
        body, _ = await self.call("GET", key)
        return memoryview(body)

    async def stream(self, key: str, offset: int = 0) -> AsyncIterator[bytes]:
        """See :meth:`imex.storage.port.ObjectStore.stream`."""
        headers = {"range": f"bytes={offset}-"} if offset else {}
        request = self._request("GET", key, {}, headers)
        try:
            async with self._exchange(request, self.tuning.request_s) as response:
                if response.status == 416:
                    return
                if response.status >= 300:
                    raise self._error(response.status, await response.read(), key)
                async for piece in response.pieces(self.tuning.stall_s):
                    yield piece
        except (OSError, TimeoutError) as error:
            raise self._away(error) from error

    async def head(self, key: str) -> ObjectInfo:
        """See :meth:`imex.storage.port.ObjectStore.head`."""
        _, headers = await self.call("HEAD", key)
        metadata = {name[len(_META) :]: value for name, value in headers.items() if name.startswith(_META)}
        modified = parsedate_to_datetime(headers["last-modified"])
        return ObjectInfo(key, int(headers["content-length"]), modified, metadata)

    async def delete(self, key: str) -> None:
        """See :meth:`imex.storage.port.ObjectStore.delete`."""
        try:
            await self.call("DELETE", key)
        except ObjectNotFound:
            return

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """See :meth:`imex.storage.port.ObjectStore.list`."""
        query = {"list-type": "2", "prefix": prefix}
        while True:
            body, _ = await self.call("GET", "", query=query)
            page = xml.listing(body)
            for info in page.objects:
                yield info
            if page.token is None:
                return
            query["continuation-token"] = page.token

    async def ensure_bucket(self) -> None:
        """See :meth:`imex.storage.port.ObjectStore.ensure_bucket`."""
        try:
            await self.call("HEAD", "")
        except ObjectNotFound:
            try:
                await self.call("PUT", "")
            except StoreRefused as error:
                if "BucketAlreadyOwnedByYou" not in str(error):
                    raise

    async def close(self) -> None:
        """See :meth:`imex.storage.port.ObjectStore.close`."""
        self._pool.close()

    async def call(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Buffer = b"",
        sha256: str = EMPTY_SHA256,
        within_s: float | None = None,
        once: bool = False,
    ) -> tuple[bytes | bytearray, dict[str, str]]:
        """One S3 request: body and header fields of a 2xx answer.

        A store that refuses connections or answers 503 is tried again for ``patience_s``, all within
        ``within_s``; ``once`` sends the request a single time, on a new connection.

        Raises:
            StoreError: its kinds, by the answer.
        """
        deadline = asyncio.get_running_loop().time() + (within_s or self.tuning.request_s)
        patient_until = asyncio.get_running_loop().time() + (0 if once else self.tuning.patience_s)
        pause = _FIRST_PAUSE_S
        while True:
            left = deadline - asyncio.get_running_loop().time()
            request = self._request(method, key, query or {}, headers or {}, body=body, sha256=sha256)
            try:
                async with (
                    asyncio.timeout(max(left, 0)),
                    self._pool.response(request, fresh=once) as response,
                ):
                    content = await response.load()
                if response.status < 300:
                    return content, response.headers
                failure = self._error(response.status, content, key)
            except (OSError, TimeoutError) as error:
                failure = self._away(error)
            now = asyncio.get_running_loop().time()
            if not isinstance(failure, StoreUnavailable) or now + pause >= min(patient_until, deadline):
                raise failure
            await asyncio.sleep(pause)
            pause *= 2

    def _request(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        body: Buffer = b"",
        sha256: str = EMPTY_SHA256,
    ) -> Request:
        path = f"/{self._bucket}/{quote(key, safe='/-_.~')}" if key else f"/{self._bucket}"
        signed = self._signer.headers(method, path, query, headers, content_sha256=sha256)
        target = f"{path}?{encode_query(query)}" if query else path
        return Request(method, target, signed, (body,) if body else ())

    @asynccontextmanager
    async def _exchange(self, request: Request, within_s: float) -> AsyncIterator[Response]:
        """A response whose head has to come in time, and whose body takes as long as it moves."""
        async with asyncio.timeout(within_s) as deadline, self._pool.response(request) as response:
            deadline.reschedule(None)
            yield response

    def _error(self, status: int, body: bytes | bytearray, key: str) -> StoreError:
        code = xml.error_code(body)
        said = f"object store answered {status} {code}".strip()
        if status == 507 or code in _FULL_CODES:
            return StoreFull(said)
        if status == 404 and code in ("", "NoSuchKey", "NoSuchBucket"):
            return ObjectNotFound(f"no object {key!r} in bucket {self._bucket!r}" if key else said)
        if status >= 500 or status in (408, 429) or code in ("SlowDown", "RequestTimeout"):
            return StoreUnavailable(said)
        return StoreRefused(said)

    def _away(self, error: BaseException) -> StoreUnavailable:
        if isinstance(error, TimeoutError):
            return StoreUnavailable("object store did not answer in time")
        if isinstance(error, HttpBroken):
            return StoreUnavailable(f"object store: {error}")
        return StoreUnavailable(f"object store cannot be reached ({type(error).__name__})")
