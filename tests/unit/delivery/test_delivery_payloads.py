"""Reading payloads ahead: bounded, in order, and never what was not received."""

import asyncio
import hashlib

import pytest

from imex.delivery.jobs import Instance
from imex.delivery.payloads import MISMATCH, MISSING, PayloadBroken, ReadAhead, reading_ahead
from imex.dicom import file_meta
from imex.storage import StoreUnavailable
from imex.testing.storage import MemoryStore

CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAX = "1.2.840.10008.1.2.1"


async def stored(store: MemoryStore, number: int, size: int, *, spoilt: bool = False) -> Instance:
    data = bytes([8, 0]) + hashlib.shake_256(str(number).encode()).digest(size - 2)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    if spoilt:
        data = data[:-1] + bytes([data[-1] ^ 1])
    await store.put(f"k{number}", file_meta(CT, f"2.25.{number}", SYNTAX) + data)
    return Instance(f"2.25.{number}", CT, SYNTAX, f"k{number}", size, digest, 0)


@pytest.mark.parametrize("whole_bytes", [1 << 20, 100])
async def test_data_sets_come_in_order_without_their_meta(whole_bytes: int) -> None:
    store = MemoryStore()
    wanted = [await stored(store, number, size) for number, size in enumerate((10, 70_000, 4000, 300_000))]
    async with reading_ahead(store, wanted, ReadAhead(2, 1 << 20, whole_bytes)) as payloads:
        got = [(one.instance, b"".join([bytes(c) async for c in one.chunks()])) async for one in payloads]
    assert [one for one, _ in got] == wanted
    for instance, data in got:
        assert "sha256:" + hashlib.sha256(data).hexdigest() == instance.digest


async def test_a_small_payload_that_does_not_match_is_known_before_it_is_sent() -> None:
    store = MemoryStore()
    spoilt, missing = await stored(store, 1, 500, spoilt=True), await stored(store, 2, 500)
    await store.delete("k2")
    async with reading_ahead(store, [spoilt, missing], ReadAhead()) as payloads:
        assert [one.broken async for one in payloads] == [MISMATCH, MISSING]


async def test_of_a_large_payload_that_does_not_match_the_end_is_never_given_out() -> None:
    store = MemoryStore()
    spoilt = await stored(store, 1, 300_000, spoilt=True)
    given = 0
    async with reading_ahead(store, [spoilt], ReadAhead(whole_bytes=100)) as payloads:
        async for one in payloads:
            with pytest.raises(PayloadBroken, match="digest"):
                async for chunk in one.chunks():
                    given += len(chunk)
    assert 0 < given < 300_000


async def test_a_store_that_is_away_is_the_readers_error() -> None:
    store = MemoryStore()
    wanted = [await stored(store, 1, 500)]
    store.failure = StoreUnavailable("away")
    async with reading_ahead(store, wanted, ReadAhead()) as payloads:
        with pytest.raises(StoreUnavailable):
            await anext(aiter(payloads))


async def test_no_more_is_read_ahead_than_is_allowed() -> None:
    store, reads = MemoryStore(), 0
    wanted = [await stored(store, number, 10_000) for number in range(20)]
    get = store.get

    async def counted(key: str) -> bytes:
        nonlocal reads
        reads += 1
        return await get(key)

    store.get = counted  # type: ignore[method-assign]
    async with reading_ahead(store, wanted, ReadAhead(10, 30_000, 1 << 20)) as payloads:
        taken = 0
        async for _ in payloads:
            taken += 1
            for _ in range(20):
                await asyncio.sleep(0)
            assert reads <= taken + 3
    assert taken == reads == 20
