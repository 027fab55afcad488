"""Reading payloads ahead: bounded, and never what was not received."""

import asyncio
import hashlib

import pytest

from imex.delivery.jobs import Instance
from imex.delivery.payloads import MISMATCH, MISSING, Payload, PayloadBroken, ReadAhead, Reader
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


async def read(reader: Reader, instance: Instance) -> Payload:
    reading = reader.begin(instance, ahead=False)
    assert reading is not None
    payload = await reading.payload()
    reading.close()
    return payload


@pytest.mark.parametrize("whole_bytes", [1 << 20, 100])
@pytest.mark.parametrize("size", [10, 4000, 70_000, 300_000])
async def test_a_data_set_comes_without_its_meta(whole_bytes: int, size: int) -> None:
    store = MemoryStore()
    instance = await stored(store, 1, size)
    payload = await read(Reader(store, ReadAhead(2, 1 << 20, whole_bytes)), instance)
    data = b"".join([bytes(chunk) async for chunk in payload.chunks()])
    assert len(data) == size
    assert "sha256:" + hashlib.sha256(data).hexdigest() == instance.digest


async def test_a_small_payload_that_does_not_match_is_known_before_it_is_sent() -> None:
    store = MemoryStore()
    spoilt, missing = await stored(store, 1, 500, spoilt=True), await stored(store, 2, 500)
    await store.delete("k2")
    reader = Reader(store, ReadAhead())
    assert [(await read(reader, one)).broken for one in (spoilt, missing)] == [MISMATCH, MISSING]


async def test_of_a_large_payload_that_does_not_match_the_end_is_never_given_out() -> None:
    store = MemoryStore()
    spoilt = await stored(store, 1, 300_000, spoilt=True)
    payload = await read(Reader(store, ReadAhead(whole_bytes=100)), spoilt)
    given = 0
    with pytest.raises(PayloadBroken, match="digest"):
        async for chunk in payload.chunks():
            given += len(chunk)
    assert 0 < given < 300_000


async def test_a_store_that_is_away_is_the_readers_error() -> None:
    store = MemoryStore()
    instance = await stored(store, 1, 500)
    store.failure = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await read(Reader(store, ReadAhead()), instance)


async def test_what_is_read_ahead_is_bounded_and_what_is_sent_is_not() -> None:
    store = MemoryStore()
    reader = Reader(store, ReadAhead(bytes=25_000))
    wanted = [await stored(store, number, 10_000) for number in range(5)]
    ahead = [reader.begin(one, ahead=True) for one in wanted]
    assert [reading is not None for reading in ahead] == [True, True, False, False, False]
    now = reader.begin(wanted[2], ahead=False)
    assert now is not None
    first = ahead[0]
    assert first is not None
    await first.payload()
    first.close()
    first.close()  # no room is given back twice
    assert reader.begin(wanted[3], ahead=True) is not None
    assert reader.begin(wanted[4], ahead=True) is None


async def test_what_is_no_longer_wanted_is_not_read() -> None:
    store = MemoryStore()
    instance = await stored(store, 1, 10_000)
    reader = Reader(store, ReadAhead(bytes=10_000))
    reading = reader.begin(instance, ahead=True)
    assert reading is not None
    reading.close()
    with pytest.raises(asyncio.CancelledError):
        await reading.payload()
    assert reader.begin(instance, ahead=True) is not None


async def test_one_that_is_streamed_is_never_read_ahead() -> None:
    store = MemoryStore()
    reader = Reader(store, ReadAhead(whole_bytes=100))
    assert reader.begin(await stored(store, 1, 10_000), ahead=True) is None
