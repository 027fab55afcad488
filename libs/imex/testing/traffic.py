"""A patient sender: what it sends it sends again until it is acknowledged, as every real modality does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from imex.dimse import DimseError, connect
from imex.testing.dicom import SyntheticInstance
from imex.testing.peers import store

_PAUSE_S = 0.2


async def send_patiently(
    port: int,
    calling: str,
    instances: Sequence[SyntheticInstance],
    reached: Callable[[int], None] = lambda _count: None,
    within_s: float = 120.0,
) -> Counter[str]:
    """Send one after the other, each until it got SUCCESS; `reached` is told how many have.

    Gives back how often each instance was answered with SUCCESS. Raises TimeoutError.
    """
    acknowledged: Counter[str] = Counter()
    waiting = list(instances)
    async with asyncio.timeout(within_s):
        while waiting:
            try:
                await _send_some(port, calling, waiting, acknowledged, reached)
            except DimseError:
                await asyncio.sleep(_PAUSE_S)
    return acknowledged


async def _send_some(
    port: int,
    calling: str,
    waiting: list[SyntheticInstance],
    acknowledged: Counter[str],
    reached: Callable[[int], None],
) -> None:
    contexts = [(waiting[0].sop_class_uid, [waiting[0].transfer_syntax])]
    async with connect("127.0.0.1", port, calling, "IMEX", contexts) as association:
        while waiting:
            instance = waiting[0]
            answer = await store(association, instance)
            if answer.status != 0:
                await asyncio.sleep(_PAUSE_S)
                continue
            acknowledged[instance.sop_instance_uid] += 1
            waiting.pop(0)
            reached(sum(acknowledged.values()))
