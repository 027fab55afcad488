"""Heads of what is found: what is kept of them, and how many are in memory at once."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from imex.portal.dicomweb.heads import SEARCH_BYTES, heads_of, known
from imex.portal.queries.holdings import HeldInstance
from imex.testing.dicom import SyntheticInstance, synthetic_study
from imex.testing.storage import MemoryStore


class Counting(MemoryStore):
    """How many were begun to be read."""

    read = 0

    def stream(self, key: str, offset: int = 0) -> AsyncIterator[bytes]:
        self.read += 1
        return super().stream(key, offset)


def held(one: SyntheticInstance) -> HeldInstance:
    return HeldInstance(
        "RQM", "1.2", "1.3", one.sop_instance_uid, one.sop_class_uid, one.transfer_syntax, "CT",
        one.sop_instance_uid, len(one.dataset), one.digest, datetime.now(UTC), None,
    )  # fmt: skip


async def test_only_what_is_asked_for_is_kept_and_few_are_read_ahead() -> None:
    store, study = Counting(), synthetic_study(20, size=16)
    for one in study.instances:
        await store.put(one.sop_instance_uid, one.file())
    found, told = [held(one) for one in study.instances], 0
    async for head in heads_of(store, [None, *found], SEARCH_BYTES, {"00280010"}):
        if told:
            assert head == {"00280010": {"vr": "US", "Value": [16]}} | known(found[told - 1])
        else:
            assert head == {}
        told += 1
        assert store.read < told + 8
    assert (told, store.read) == (21, 20)
