"""Cutting a data set into P-DATA-TF PDUs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.dimse.limits import Limits
from imex.dimse.messages import DataSetCutter, pdus
from imex.dimse.pdu import PduType
from imex.dimse.stream import PduStream


class Reassembled:
    def __init__(self) -> None:
        self.data = b""
        self.lasts: list[int] = []
        self.sizes: list[int] = []

    def on_pdu(self, kind: PduType, body: bytes) -> None:
        raise AssertionError(kind)

    def on_data_pdu(self) -> None:
        self.sizes.append(0)

    def on_fragment(self, context_id: int, command: bool, last: bool, data: memoryview) -> None:
        assert context_id == 5
        self.data += data
        self.sizes[-1] += len(data)
        if last:
            self.lasts.append(len(self.data))


def reassemble(wire: bytes) -> Reassembled:
    found = Reassembled()
    stream = PduStream(Limits(), found)
    while wire:
        room = stream.buffer()
        count = min(len(room), len(wire))
        room[:count], wire = wire[:count], wire[count:]
        stream.received(count)
    return found


@given(st.lists(st.binary(max_size=90), max_size=12), st.integers(1, 40).map(lambda n: 2 * n))
def test_any_chunks_become_even_fragments_of_the_peers_size(chunks: list[bytes], size: int) -> None:
    whole = b"".join(chunks)
    cutter = DataSetCutter(5, len(whole), size)
    wire = b"".join(bytes(buffer) for chunk in chunks for buffer in cutter.cut(chunk))
    wire += b"".join(bytes(buffer) for buffer in cutter.finish())
    found = reassemble(wire)
    assert found.data == whole + b"\0" * (len(whole) % 2)
    assert found.lasts == [len(found.data)]
    assert all(n % 2 == 0 and n <= size for n in found.sizes)
    assert all(n == size for n in found.sizes[:-1])


def test_the_payload_is_not_copied() -> None:
    chunk = bytes(1000)
    views = [buffer for buffer in DataSetCutter(5, 1000, 400).cut(chunk) if isinstance(buffer, memoryview)]
    assert [len(view) for view in views] == [400, 400, 200]
    assert all(view.obj is chunk for view in views)


def test_a_data_set_of_another_length_than_announced_is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        DataSetCutter(5, 3, 40).cut(b"1234")
    cutter = DataSetCutter(5, 3, 40)
    cutter.cut(b"1")
    with pytest.raises(ValueError, match="2 bytes early"):
        cutter.finish()


@given(st.binary(min_size=1, max_size=200), st.integers(1, 40).map(lambda n: 2 * n))
def test_a_command_is_cut_like_a_data_set(data: bytes, size: int) -> None:
    found = reassemble(b"".join(pdus(5, data, size)))
    assert found.data == data
    assert found.lasts == [len(data)]
