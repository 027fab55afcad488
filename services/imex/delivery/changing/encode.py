"""Between encoded heads of data sets and pydicom's data sets. Slow: in a thread."""

import zlib
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from imex.delivery.changing.decide import CannotChange
from imex.dicom.quiet import be_quiet
from imex.dicom.syntax import Encoding


def read(head: bytes, encoding: Encoding) -> Dataset:
    """The head as a data set.

    Raises:
        CannotChange: it cannot be read.
    """
    be_quiet()
    try:
        return read_dataset(BytesIO(head), encoding.implicit, not encoding.big_endian)
    except Exception as error:  # noqa: BLE001  pydicom raises what it likes, and its words quote values
        raise CannotChange(f"its header cannot be read to be changed ({type(error).__name__})") from None


def write(dataset: Dataset, encoding: Encoding) -> bytes:
    """The data set encoded as its head was.

    Raises:
        CannotChange: it cannot be written.
    """
    target = DicomBytesIO()
    target.is_implicit_VR = encoding.implicit
    target.is_little_endian = not encoding.big_endian
    try:
        write_dataset(target, dataset)
    except Exception as error:  # noqa: BLE001  as above
        raise CannotChange(f"its header cannot be written ({type(error).__name__})") from None
    return target.getvalue()


def inflated(data: bytes | memoryview, most_bytes: int) -> bytes:
    """A deflated data set (PS3.5 A.5) as it was before. Raises CannotChange."""
    try:
        inflater = zlib.decompressobj(-15)
        whole = inflater.decompress(data, most_bytes + 1)
    except zlib.error:
        raise CannotChange("it cannot be inflated") from None
    if len(whole) > most_bytes:
        raise CannotChange(f"it inflates to more than {most_bytes >> 20} MiB")
    if not inflater.eof:
        raise CannotChange("it cannot be inflated: cut short")
    return whole


def deflated(data: bytes) -> bytes:
    """A data set deflated, of even length."""
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(data) + deflater.flush()
    return packed + b"\0" * (len(packed) % 2)
