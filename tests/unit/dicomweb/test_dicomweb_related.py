"""multipart/related: any chunking gives the same parts, and nothing of a body breaks the reader."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.dicomweb.related import (
    MOST_HEADERS,
    BodyMalformed,
    PartBegun,
    PartEnded,
    PartPiece,
    RelatedReader,
    closing,
    part_head,
)

BOUNDARY = "--8c5b=/'x"
Parts = list[tuple[dict[str, str], bytes]]

# what looks like the boundary, and is not, is what a reader goes wrong about
near = st.sampled_from([b"\r\n--", b"\r\n--" + BOUNDARY.encode(), b"--", b"\r", b"\n", b"\r\n", b"-", b"\0"])
almost = near.filter(lambda piece: not piece.endswith(BOUNDARY.encode())) | st.binary(max_size=8)
contents = st.lists(almost | st.binary(max_size=200), max_size=6).map(b"".join)
contents = contents.filter(lambda data: b"\r\n--" + BOUNDARY.encode() not in b"\r\n" + data)


def body_of(contents: list[bytes]) -> bytes:
    heads = [part_head(BOUNDARY, "application/dicom", first=not n) for n in range(len(contents))]
    return b"".join(head + data for head, data in zip(heads, contents, strict=True)) + closing(BOUNDARY)


def read(body: bytes, cuts: list[int], boundary: str = BOUNDARY) -> Parts:
    reader = RelatedReader(boundary)
    found: Parts = []
    ends = 0
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        for happening in reader.feed(body[start:end]):
            match happening:
                case PartBegun(headers):
                    found.append((dict(headers), b""))
                case PartPiece(data):
                    found[-1] = (found[-1][0], found[-1][1] + bytes(data))
                case PartEnded():
                    ends += 1
    reader.finish()
    assert ends == len(found) == reader.parts
    return found


@given(st.lists(contents, min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=30))
def test_any_chunking_gives_the_same_parts(parts: list[bytes], cuts: list[int]) -> None:
    assert read(body_of(parts), cuts) == [({"content-type": "application/dicom"}, data) for data in parts]


@given(st.lists(contents, min_size=1, max_size=3))
def test_byte_by_byte_is_one_of_them(parts: list[bytes]) -> None:
    body = body_of(parts)
    assert [data for _, data in read(body, list(range(len(body))))] == parts


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=8))
def test_junk_is_refused_in_words_or_read_and_never_breaks_it(junk: bytes, cuts: list[int]) -> None:
    try:
        read(junk, cuts, "b")
    except BodyMalformed as error:
        assert "multipart" in str(error) or "boundary" in str(error)


@given(st.integers(0, 300))
def test_a_body_that_is_cut_short_is_not_taken_for_a_whole_one(cut: int) -> None:
    body = body_of([b"first", b"second"])
    short = body[: min(cut, len(body) - 5)]
    with pytest.raises(BodyMalformed):
        read(short, [])


def test_padding_behind_a_boundary_and_an_epilogue_are_no_part_of_anything() -> None:
    body = b"--b\r\nX: y\r\n\r\none\r\n--b \t\r\n\r\ntwo\r\n--b--\r\nepilogue\r\n--b\r\n"
    assert [data for _, data in read(body, [], "b")] == [b"one", b"two"]


def test_a_multipart_within_a_part_is_just_its_bytes() -> None:
    inner = b"--inner\r\n\r\nx\r\n--inner--"
    body = b"--b\r\nContent-Type: multipart/related; boundary=inner\r\n\r\n" + inner + b"\r\n--b--\r\n"
    assert read(body, [], "b") == [({"content-type": "multipart/related; boundary=inner"}, inner)]


@pytest.mark.parametrize("boundary", ["", "x" * 201, "ä", "a\r\nb"])
def test_a_boundary_that_can_be_none_is_refused(boundary: str) -> None:
    with pytest.raises(BodyMalformed, match="boundary"):
        RelatedReader(boundary)


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"v" * 5000,
        b"N" * 5000 + b": v",
        b"\r\n".join(b"X%d: v" % n for n in range(MOST_HEADERS + 1)),
        b"no colon in it",
        b": no name",
    ],
)
def test_headers_beyond_their_bounds_are_refused(head: bytes) -> None:
    with pytest.raises(BodyMalformed, match="in part 1"):
        read(b"--b\r\n" + head + b"\r\n\r\ndata\r\n--b--\r\n", [], "b")


def test_so_many_parts_and_no_more() -> None:
    reader = RelatedReader("b", most_parts=2)
    reader.feed(b"--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n")
    with pytest.raises(BodyMalformed, match="more than 2 parts"):
        reader.feed(b"--b\r\n\r\n3\r\n")


@given(st.lists(st.integers(0, 60), max_size=30))
def test_what_stands_before_the_first_boundary_is_no_part_however_it_is_cut(cuts: list[int]) -> None:
    body = b"\r\nA preamble -- for mail, \r\n-- and --b \r\n--b\r\n\r\none\r\n--b--\r\n"
    assert [data for _, data in read(body, cuts, "b")] == [b"one"]


def test_without_a_boundary_not_everything_is_read_for_one() -> None:
    reader = RelatedReader("b")
    with pytest.raises(BodyMalformed, match="before its first part"):
        for _ in range(1000):
            reader.feed(b"\r\nx" * 100)
