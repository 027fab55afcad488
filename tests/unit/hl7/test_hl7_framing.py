"""MLLP: messages out of a stream, however it is cut; what is no MLLP is refused at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.hl7.framing import FrameReader, FramingBroken, framed

MESSAGE = st.binary(max_size=60).map(lambda data: data.translate(None, b"\x0b\x1c"))


@given(
    st.lists(MESSAGE, max_size=5), st.lists(st.integers(1, 40), min_size=1), st.sampled_from([b"", b"\r\n"])
)
def test_messages_come_out_however_the_stream_is_cut(
    messages: list[bytes], sizes: list[int], between: bytes
) -> None:
    stream = b"".join(framed(one) + between for one in messages)
    reader, found, at, turn = FrameReader(100), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == messages
    assert not reader.inside


@given(st.binary(max_size=300), st.integers(1, 50))
def test_whatever_comes_no_more_is_held_than_allowed(data: bytes, size: int) -> None:
    reader = FrameReader(64)
    try:
        for at in range(0, len(data), size):
            for message in reader.feed(data[at : at + size]):
                assert len(message) <= 64
            assert reader.held <= 64 + size
    except FramingBroken:
        pass


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"MSH|", "begin with the byte 0x0B"),
        (b"\x0bMSH|\x1cX", "end with the bytes"),
        (b"\x0bMSH|\x0bMSH|", "before the one under way"),
        (b"\x0b" + b"x" * 101, "larger than 100"),
        (framed(b"x" * 101), "larger than 100"),
    ],
)
def test_broken_framing_is_named(stream: bytes, words: str) -> None:
    with pytest.raises(FramingBroken, match=words):
        FrameReader(100).feed(stream)
