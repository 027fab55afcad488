"""Command sets and messages of services that Imex itself does not offer (PS3.7), by way of pydicom."""

import io
from typing import Any, Final

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from imex.dimse.messages import pdus
from imex.dimse.pdu import data_header

C_STORE, C_ECHO, C_FIND, C_CANCEL, N_EVENT_REPORT, N_ACTION = 0x0001, 0x0030, 0x0020, 0x0FFF, 0x0100, 0x0130
RESPONSE: Final = 0x8000
NO_DATA_SET: Final = 0x0101
IMPLICIT: Final = "1.2.840.10008.1.2"
FRAGMENT: Final = 16_000


def encoded(dataset: Dataset, transfer_syntax: str = IMPLICIT) -> bytes:
    """A data set's bytes; whatever is not Implicit VR is Explicit VR Little Endian."""
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, transfer_syntax == IMPLICIT
    write_dataset(out, dataset)
    return out.getvalue()


def decoded(data: bytes, transfer_syntax: str = IMPLICIT) -> Dataset:
    """A data set. Raises what pydicom raises for what is none."""
    return read_dataset(
        io.BytesIO(data),
        is_implicit_VR=transfer_syntax == IMPLICIT,
        is_little_endian=True,
        bytelength=len(data),
    )


def command(**elements: Any) -> bytes:
    """A command set from keywords (PS3.7 annex E)."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    body = encoded(dataset)
    head = Dataset()
    head.CommandGroupLength = len(body)
    return encoded(head) + body


def response(
    request: Dataset, status: int, *, has_data: bool = False, comment: str = "", **more: Any
) -> bytes:
    """The response to a request, with what it names."""
    elements: dict[str, Any] = {
        "CommandField": request.CommandField | RESPONSE,
        "MessageIDBeingRespondedTo": request.MessageID,
        "CommandDataSetType": 0x0001 if has_data else NO_DATA_SET,
        "Status": status,
    }
    for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID"):
        if keyword in request:
            elements[keyword] = request[keyword].value
    if comment:
        elements["ErrorComment"] = comment
    return command(**elements | more)


def message(context_id: int, command_set: bytes, data: bytes | None = None) -> bytes:
    """P-DATA-TF PDUs of a command set and the data set behind it."""
    parts = list(pdus(context_id, command_set, FRAGMENT))
    if data is not None:
        starts = range(0, max(len(data), 1), FRAGMENT)
        for start in starts:
            piece = data[start : start + FRAGMENT]
            last = start + FRAGMENT >= len(data)
            parts += [data_header(context_id, len(piece), command=False, last=last), piece]
    return b"".join(bytes(part) for part in parts)
