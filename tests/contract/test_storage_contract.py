"""What every object store promises: the one in memory and a real MinIO."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import uuid4

import pytest

from imex.settings import S3Settings
from imex.storage import MinioStore, ObjectNotFound, ObjectStore, StoreRefused, StoreTuning, delete_all
from imex.testing.parts import MinioPart, minio_part
from imex.testing.storage import MemoryStore

MIB = 1024 * 1024
METADATA = {"source": "RQM", "calling-ae": "RQM_PACS", "received-at": "2026-01-01T00:00:00+00:00", "note": ""}


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioPart]:
    with minio_part(tmp_path_factory.mktemp("minio")) as part:
        yield part


@pytest.fixture(params=["memory", "minio"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ObjectStore]:
    made: ObjectStore
    if request.param == "memory":
        made = MemoryStore()
    else:
        part: MinioPart = request.getfixturevalue("minio")
        settings = S3Settings(
            endpoint=part.endpoint,
            access_key=part.access_key,
            secret_key=part.secret_key,
        )
        made = MinioStore(settings, f"b{uuid4().hex}", StoreTuning(part_bytes=5 * MIB))
    await made.ensure_bucket()
    yield made
    await made.close()


async def collected(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def test_what_was_put_is_read_back(store: ObjectStore) -> None:
    data = os.urandom(200_000)
    stored = await store.put("RQM/2026-01-01/a b+ü%", data, METADATA, hashlib.sha256(data).hexdigest())
    assert (stored.key, stored.size) == ("RQM/2026-01-01/a b+ü%", 200_000)
    assert await store.get(stored.key) == data
    assert await collected(store.stream(stored.key)) == data
    assert await collected(store.stream(stored.key, 199_990)) == data[-10:]
    info = await store.head(stored.key)
    assert info.size == len(data)
    assert info.metadata["source"] == "RQM"
    assert info.metadata["calling-ae"] == "RQM_PACS"
    assert info.modified.tzinfo is not None


async def test_a_put_replaces(store: ObjectStore) -> None:
    await store.put("k", b"one")
    await store.put("k", bytearray(b"two"))
    assert await store.get("k") == b"two"


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    await store.put("empty", b"")
    assert await store.get("empty") == b""
    assert await collected(store.stream("empty")) == b""


async def test_bytes_that_do_not_agree_with_their_digest_are_refused(store: ObjectStore) -> None:
    with pytest.raises(StoreRefused):
        await store.put("k", b"data", sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(ObjectNotFound):
        await store.get("k")


async def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    for attempt in (store.get("no"), store.head("no"), collected(store.stream("no"))):
        with pytest.raises(ObjectNotFound):
            await attempt


async def test_deleting_twice_is_no_error(store: ObjectStore) -> None:
    await store.put("k", b"x")
    await store.delete("k")
    await store.delete("k")
    with pytest.raises(ObjectNotFound):
        await store.get("k")


async def test_many_are_deleted_and_others_stay(store: ObjectStore) -> None:
    keys = [f"RQM/{number}" for number in range(20)]
    for key in [*keys, "RQM/stays"]:
        await store.put(key, b"x")
    assert await delete_all(store, [*keys, "RQM/never-there"]) == {*keys, "RQM/never-there"}
    assert [info.key async for info in store.list("RQM/")] == ["RQM/stays"]


async def test_listing_is_by_prefix_and_in_order(store: ObjectStore) -> None:
    for key in ("b/2", "a/1", "b/1", "c"):
        await store.put(key, b"x" * 3)
    assert [(each.key, each.size) async for each in store.list("b/")] == [("b/1", 3), ("b/2", 3)]
    assert [each.key async for each in store.list()] == ["a/1", "b/1", "b/2", "c"]
    assert [each.key async for each in store.list("zz")] == []


async def test_a_bucket_is_made_once(store: ObjectStore) -> None:
    await store.put("k", b"x")
    await store.ensure_bucket()
    assert await store.get("k") == b"x"


@pytest.mark.parametrize("metadata", [{"Upper": "x"}, {"a": "two\nlines"}, {"a": "ü"}, {"a": " x"}])
async def test_metadata_that_headers_would_change_is_an_error(
    store: ObjectStore, metadata: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="metadata"):
        await store.put("k", b"x", metadata)
    with pytest.raises(ValueError, match="metadata"):
        store.open_put("k", metadata)


@pytest.mark.parametrize("size", [0, 1, 300_000, 5 * MIB, 5 * MIB + 1, 17 * MIB])
async def test_an_upload_of_any_size_appears_at_commit(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    upload = store.open_put("u", METADATA)
    piece = bytearray(130_000)
    for start in range(0, size, len(piece)):
        taken = data[start : start + len(piece)]
        piece[: len(taken)] = taken
        await upload.write(memoryview(piece)[: len(taken)])  # the same memory each time: it has to be copied
    with pytest.raises(ObjectNotFound):
        await store.head("u")
    stored = await upload.commit()
    assert stored.size == size
    assert await store.get("u") == data
    assert (await store.head("u")).metadata["source"] == "RQM"
    await upload.abort()
    assert await store.get("u") == data


@pytest.mark.parametrize("size", [0, 1000, 12 * MIB])
async def test_an_aborted_upload_leaves_nothing(store: ObjectStore, size: int) -> None:
    upload = store.open_put("u")
    await upload.write(bytes(size))
    await upload.abort()
    await upload.abort()
    assert [each.key async for each in store.list()] == []
    with pytest.raises(StoreRefused):
        await upload.commit()
    with pytest.raises(StoreRefused):
        await upload.write(b"x")


async def test_many_at_once(store: ObjectStore) -> None:
    import asyncio

    async def one(number: int) -> bytes:
        await store.put(f"n/{number}", str(number).encode() * 1000)
        return await store.get(f"n/{number}")

    assert await asyncio.gather(*(one(n) for n in range(200))) == [str(n).encode() * 1000 for n in range(200)]
    assert len([each async for each in store.list("n/")]) == 200


async def test_a_stream_that_is_left_early_does_no_harm(store: ObjectStore) -> None:
    await store.put("k", bytes(3 * MIB))
    pieces = store.stream("k")
    assert await anext(pieces)
    close: Callable[[], object] = pieces.aclose  # type: ignore[attr-defined]
    await close()  # type: ignore[misc]
    assert len(await store.get("k")) == 3 * MIB
