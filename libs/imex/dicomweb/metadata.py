"""A data set's head in the DICOM JSON model (PS3.18 annex F), without bulk data.

Slow: pydicom reads the values. Values that it cannot read are left out.
"""

import math
import zlib
from collections.abc import Collection, Generator
from contextlib import suppress
from io import BytesIO
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from imex.dicom import dataset_offset, encoding_of
from imex.dicom.head import HeadFinder, HeadTooLarge, HeadUnreadable
from imex.dicom.quiet import be_quiet
from imex.dicom.syntax import Encoding
from imex.dicomweb.elements import Json

_BULK: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_MOST_INLINE: Final = 1024
"""Bytes of a binary value that is not bulk."""
_META_BYTES: Final = 4096
"""File meta information of ours is shorter than this."""
_DEPTH: Final = 32
_INFLATE_STEP: Final = 64 * 1024


class HeadReader:
    """Takes the pieces of a stored file until its head, what stands before the pixel data, is there."""

    def __init__(self, transfer_syntax: str, most: int) -> None:
        """`most` bytes of the data set are held."""
        encoding = encoding_of(transfer_syntax)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if encoding.deflated else None
        self._encoding = Encoding() if encoding.deflated else encoding
        self._most = most
        self._finder = HeadFinder(self._encoding, most)
        self._start: bytearray | None = bytearray()
        self._offset = 0
        self.complete = False

    @property
    def pixel_value(self) -> int | None:
        """Where in the file the value of the pixel data begins; None without any, or where it is deflated."""
        found = self._finder.pixel_value
        return None if found is None or self._inflater is not None else self._offset + found

    @property
    def pixel_length(self) -> int | None:
        """Of that value, in bytes; None where it is not told before its end."""
        return self._finder.pixel_length

    def feed(self, piece: bytes) -> bool:
        """Whether no more is needed: the head is there, or more than may be held, or no sense."""
        if self._start is not None:
            self._start += piece
            return len(self._start) >= _META_BYTES and self._begun(self._start)
        return self._feed(piece)

    def _begun(self, start: bytearray) -> bool:
        """The meta information is there as a whole: what follows it is the data set."""
        self._start = None
        try:
            self._offset = dataset_offset(start)
            return self._feed(bytes(start[self._offset :]))
        except ValueError:
            return True

    def _feed(self, piece: bytes) -> bool:
        try:
            for data in self._inflated(piece):
                if self._finder.feed(data):
                    self.complete = True
                    return True
        except (HeadTooLarge, HeadUnreadable, zlib.error):
            return True
        return False

    def _inflated(self, piece: bytes) -> Generator[bytes, None, None]:
        if self._inflater is None:
            yield piece
            return
        while True:
            inflated = self._inflater.decompress(piece, _INFLATE_STEP)
            yield inflated
            piece = self._inflater.unconsumed_tail
            # a full step may leave output inside zlib though all input is taken
            if not piece and len(inflated) < _INFLATE_STEP:
                return

    def finish(self) -> None:
        """There are no more pieces."""
        if self._start is not None and self._begun(self._start):
            return
        try:
            self._finder.finish()
            self.complete = True
        except HeadUnreadable:
            self.complete = False

    def read(self) -> Dataset:
        """The data set as far as it was read; empty where it makes no sense."""
        be_quiet()
        finder, encoding = self._finder, self._encoding
        head = bytes(finder.held[: self._most if finder.end is None else finder.end])
        try:
            return read_dataset(BytesIO(head), encoding.implicit, not encoding.big_endian)
        except Exception:  # noqa: BLE001  pydicom raises what it likes about what was sent
            return Dataset()


def as_json(dataset: Dataset, only: Collection[str] | None = None) -> Json:
    """Every element but bulk data; of `only` these tags (eight hexadecimal digits), where it is given."""
    if only is not None:
        dataset = _picked(dataset, only)
    _drop_bulk(dataset, 0)
    try:
        found: Json = dataset.to_json_dict(suppress_invalid_tags=True)
    except Exception:  # noqa: BLE001  see above
        return {}
    return _finite(found)  # type: ignore[no-any-return]


def _picked(dataset: Dataset, only: Collection[str]) -> Dataset:
    """What else is there is not even read: a value may be a hundred thousand empty ones."""
    picked = Dataset()
    for tag in only:
        with suppress(Exception):  # what cannot be read is left out
            picked.add(dataset[int(tag, 16)])
    return picked


def _drop_bulk(dataset: Dataset, depth: int) -> None:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            if element.VR == "SQ":
                for item in element.value if depth < _DEPTH else ():
                    _drop_bulk(item, depth + 1)
                if depth >= _DEPTH:
                    del dataset[tag]
            elif element.VR in _BULK and len(element.value or b"") > _MOST_INLINE:
                del dataset[tag]
        except Exception:  # noqa: BLE001  what cannot be read is left out
            dataset.pop(tag, None)


def _finite(value: Any) -> Any:
    """JSON has no infinite numbers."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
