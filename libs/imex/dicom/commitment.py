"""Storage commitment (PS3.4 annex J): what is asked for and what is reported, as data sets and as values.

Shared by whoever asks for commitments and whoever gives them. pydicom is imported when first needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import TYPE_CHECKING, Final

from imex.dicom.identifiers import valid_uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
"""SOP class."""
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""Its only, well-known SOP instance."""
REQUEST: Final = 1
"""Action Type ID of an N-ACTION."""
ALL_COMMITTED: Final = 1
SOME_FAILED: Final = 2
"""Event Type IDs of an N-EVENT-REPORT."""
IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
TRANSFER_SYNTAXES: Final = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
"""In which requests and reports are read and written here."""

_ITEM: Final = b"\xfe\xff\x00\xe0"
"""The tag of an item (PS3.5 7.5), little endian."""
_REFERENCED_SOP_SEQUENCE: Final = 0x00081199


class FailureReason(IntEnum):
    """Why an instance was not committed: (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213

    @property
    def words(self) -> str:
        """As the standard calls it."""
        return _WORDS[self]


_WORDS: Final = {
    FailureReason.PROCESSING_FAILURE: "processing failure",
    FailureReason.NO_SUCH_OBJECT_INSTANCE: "no such object instance",
    FailureReason.CLASS_INSTANCE_CONFLICT: "class and instance conflict",
    FailureReason.SOP_CLASS_NOT_SUPPORTED: "SOP class not supported",
    FailureReason.DUPLICATE_TRANSACTION_UID: "duplicate transaction UID",
    FailureReason.RESOURCE_LIMITATION: "resource limitation",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that a commitment is about."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Request:
    """What an N-ACTION asks for."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What an N-EVENT-REPORT says (PS3.4 annex J.3.3)."""

    transaction_uid: str
    committed: tuple[str, ...]
    refused: dict[str, int]
    """Failure reasons by SOP Instance UID; 0 where none is told."""


class NoRequest(ValueError):
    """An N-ACTION's data set that asks for nothing that can be answered; the words name no instance."""


class TooMuch(NoRequest):
    """It asks for more than is taken."""


def requested(data: bytes, transfer_syntax: str, most_items: int) -> Request:
    """What an N-ACTION's bytes ask for, each reference once; nothing else in them is looked at.

    Items are counted before anything is parsed: one of 8 bytes costs many times that once it is.

    Raises:
        TooMuch: there are more items.
        NoRequest: the bytes cannot be read, or see `request_of`.
    """
    if data.count(_ITEM) > most_items:
        raise TooMuch(f"more than {most_items} items")
    try:
        return request_of(_read(data, transfer_syntax, through=_REFERENCED_SOP_SEQUENCE))
    except NoRequest:
        raise
    except Exception as error:
        raise NoRequest("the data set cannot be read") from error


def request_of(dataset: Dataset) -> Request:
    """What is asked for, each reference once.

    Raises:
        NoRequest: it lacks what table J.3-1 of PS3.4 demands, or a UID is none.
    """
    transaction = str(dataset.get("TransactionUID", "") or "")
    if not valid_uid(transaction):
        raise NoRequest("no Transaction UID")
    references: dict[Reference, None] = {}
    for item in _items(dataset, "ReferencedSOPSequence"):
        reference = Reference(
            str(item.get("ReferencedSOPClassUID", "") or ""),
            str(item.get("ReferencedSOPInstanceUID", "") or ""),
        )
        if not valid_uid(reference.sop_class_uid) or not valid_uid(reference.sop_instance_uid):
            raise NoRequest("a reference without the UIDs of its class and instance")
        references[reference] = None
    if not references:
        raise NoRequest("no Referenced SOP Sequence")
    return Request(transaction, tuple(references))


def request_dataset(transaction_uid: str, references: Sequence[Reference]) -> Dataset:
    """The Action Information of an N-ACTION."""
    from pydicom.dataset import Dataset

    made = Dataset()
    made.TransactionUID = transaction_uid
    made.ReferencedSOPSequence = [_item(reference) for reference in references]
    return made


def report_of(dataset: Dataset) -> Report | None:
    """The report in an Event Information; None where it names no transaction."""
    transaction = str(dataset.get("TransactionUID", "") or "")
    if not transaction:
        return None
    committed = [
        str(item.ReferencedSOPInstanceUID)
        for item in _items(dataset, "ReferencedSOPSequence")
        if "ReferencedSOPInstanceUID" in item
    ]
    refused = {
        str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason", 0) or 0)
        for item in _items(dataset, "FailedSOPSequence")
        if "ReferencedSOPInstanceUID" in item
    }
    return Report(transaction, tuple(uid for uid in committed if uid not in refused), refused)


def report_dataset(
    transaction_uid: str,
    committed: Sequence[Reference],
    failed: Sequence[tuple[Reference, FailureReason]],
) -> Dataset:
    """The Event Information of an N-EVENT-REPORT (PS3.4 table J.3-2); an empty sequence is left out."""
    from pydicom.dataset import Dataset

    made = Dataset()
    made.TransactionUID = transaction_uid
    if committed:
        made.ReferencedSOPSequence = [_item(reference) for reference in committed]
    if failed:
        items = []
        for reference, reason in failed:
            item = _item(reference)
            item.FailureReason = int(reason)
            items.append(item)
        made.FailedSOPSequence = items
    return made


def encoded(dataset: Dataset, transfer_syntax: str) -> bytes:
    """A data set in one of `TRANSFER_SYNTAXES`."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, transfer_syntax == IMPLICIT_LITTLE_ENDIAN
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def decoded(data: bytes, transfer_syntax: str) -> Dataset:
    """A data set out of one of `TRANSFER_SYNTAXES`.

    Raises:
        NoRequest: the bytes cannot be read.
    """
    try:
        found = _read(data, transfer_syntax)
        found.walk(lambda *_: None)  # sequences are read when they are looked at: all of them now
    except Exception as error:
        raise NoRequest("the data set cannot be read") from error
    return found


def _read(data: bytes, transfer_syntax: str, *, through: int | None = None) -> Dataset:
    """A data set, its elements up to a tag. Raises what pydicom raises; sequences when they are looked at."""
    from pydicom.filereader import read_dataset

    from imex.dicom.quiet import be_quiet

    be_quiet()
    return read_dataset(
        BytesIO(data),
        is_implicit_VR=transfer_syntax == IMPLICIT_LITTLE_ENDIAN,
        is_little_endian=True,
        stop_when=None if through is None else lambda tag, *_: tag > through,
    )


def _items(dataset: Dataset, name: str) -> Sequence[Dataset]:
    """A sequence's items; none where something else was sent in its place."""
    from pydicom.sequence import Sequence as Items

    found = dataset.get(name, None)
    return found if isinstance(found, Items) else ()


def _item(reference: Reference) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item
