"""A store that fills up: who is refused, from when, and until when."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.ingest.meters import StoreMeters
from imex.ingest.watermark import Mark, StoreFill
from imex.observability import names
from imex.observability.metrics import Metrics
from imex.storage import Capacity, StoreUnavailable
from imex.storage.capacity import disks
from imex.storage.port import StoreRefused


class Source:
    def __init__(self) -> None:
        self.said: Capacity | None = None

    async def read(self) -> Capacity:
        if self.said is None:
            raise StoreUnavailable("away")
        return self.said

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("readings", "refused"),
    [
        ([None], False),
        ([0.8499], False),
        ([0.85], True),
        ([0.9, 0.84], True),
        ([0.9, 0.829], False),
        ([0.9, None], False),
        ([0.0, 1.0], True),
    ],
)
def test_routine_studies_are_refused_from_the_mark_on(readings: list[float | None], refused: bool) -> None:
    mark = Mark(0.85)
    for fraction in readings:
        mark.read(fraction)
    assert (mark.refusal("bulk") is not None) is refused
    assert mark.refusal("express") is None


@given(st.floats(0.85, 1))
def test_the_words_fit_an_error_comment_and_say_why(fraction: float) -> None:
    mark = Mark(0.85)
    mark.read(fraction)
    words = mark.refusal("bulk")
    assert words is not None
    assert "storage" in words
    assert "emergencies" in words
    assert len(f"out of resources: {words}") <= 64


async def test_what_is_not_known_is_not_refused_and_is_said() -> None:
    source, metrics, now = Source(), Metrics("ingest"), [0.0]
    fill = StoreFill(source, 0.85, 10.0, StoreMeters(metrics), lambda: now[0])
    await fill.look()
    assert fill.refusal("bulk") is None
    assert "not known" in fill.health().detail
    assert math.isnan(metrics.gauge(names.STORE_USED)._value.get())
    source.said = Capacity(90, 100)
    await fill.look()
    assert fill.refusal("bulk") == "storage 90 % full, emergencies only"
    assert b"imex_store_refusing 1.0" in metrics.render()
    source.said = None  # for a while what was known last holds
    now[0] = 30.0
    await fill.look()
    assert fill.refusal("bulk") is not None
    now[0] = 61.0
    await fill.look()
    assert fill.refusal("bulk") is None
    assert b"imex_store_refusing 0.0" in metrics.render()


def test_minios_disks_are_added_up_without_the_broken_ones() -> None:
    said = b"""{"Disks": [{"state": "ok", "totalspace": 100, "availspace": 40, "usedspace": 60},
                          {"totalspace": 100, "availspace": 20}, {"state": "offline", "totalspace": 9}]}"""
    assert disks(said) == Capacity(140, 200)
    assert Capacity(140, 200).fraction == 0.7
    for broken in (b"", b"[]", b'{"Disks": []}', b'{"Disks": [1]}', b'{"Disks": [{"totalspace": "x"}]}'):
        with pytest.raises(StoreRefused):
            disks(broken)
