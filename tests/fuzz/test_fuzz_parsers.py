"""The parsers of what strangers send: what a coverage-guided run found, and random damage to good inputs.

`make fuzz` looks for more, and adds what reaches new code to the corpus that is replayed here.
"""

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imex.testing.fuzzing import PARSERS, seeds

CORPUS = Path(__file__).parent / "corpus"
WITHIN_S = 5.0
MEMORY = 64 * 1024 * 1024
MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize("parser", PARSERS)
def test_the_corpus_is_borne(parser: str) -> None:
    inputs = sorted((CORPUS / parser).iterdir())
    assert inputs
    for path in inputs:
        began = time.process_time()
        PARSERS[parser](path.read_bytes())
        assert time.process_time() - began < WITHIN_S, path.name


@st.composite
def damaged(draw: st.DrawFn, parser: str) -> bytes:
    """A good input with pieces changed, cut out, doubled, or made of lengths that are too large."""
    data = bytearray(draw(st.sampled_from(sorted(seeds(parser)))))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 16))
        match draw(st.sampled_from(("change", "cut", "insert", "repeat", "length", "end"))):
            case "change":
                data[at : at + size] = draw(st.binary(min_size=size, max_size=size))
            case "cut":
                del data[at : at + size]
            case "insert":
                data[at:at] = draw(st.binary(max_size=32))
            case "repeat":
                data[at:at] = bytes(data[at : at + 2 * size]) * draw(st.integers(1, 50))
            case "length":
                extreme = draw(st.sampled_from((0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)))
                order = draw(st.sampled_from(("big", "little")))
                width = draw(st.sampled_from((2, 4)))
                data[at : at + width] = (extreme & (256**width - 1)).to_bytes(width, order)
            case _:
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("parser", PARSERS)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damage_is_borne(parser: str, data: st.DataObject) -> None:
    PARSERS[parser](data.draw(damaged(parser)))


@pytest.mark.parametrize("parser", PARSERS)
@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=2000))
def test_noise_is_borne(parser: str, data: bytes) -> None:
    PARSERS[parser](data)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("begin", [b"", b"\x03\xff"])
def test_a_mebibyte_of_anything_takes_bounded_time_and_memory(parser: str, begin: bytes) -> None:
    for block in (*seeds(parser), bytes(16), b"\xff" * 16, bytes(range(256))):
        data = begin + block * (MEBIBYTE // len(block))
        began = time.process_time()
        PARSERS[parser](data)
        assert time.process_time() - began < WITHIN_S
        tracemalloc.start()
        PARSERS[parser](data[: MEBIBYTE // 8])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY
