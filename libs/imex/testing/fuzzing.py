"""The parsers of what strangers send, each as a function of bytes: it returns, or the parser is wrong.

The first bytes of an input choose what is not in the data: the cut of the stream, the transfer syntax. What a
parser may raise is caught here; every other exception, and every broken promise, is a finding.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from imex.dicom.header import Limits as HeaderLimits
from imex.dicom.part10 import file_meta
from imex.dicom.scanner import HeaderScanner
from imex.dicomweb.opening import NotDicom, Opening
from imex.dicomweb.related import BodyMalformed, PartBegun, PartPiece, RelatedReader, closing, part_head
from imex.dimse import command, pdu, proxy
from imex.dimse.command import Tag
from imex.dimse.errors import ProtocolError
from imex.dimse.inbox import Fragment, Inbox
from imex.dimse.limits import Limits
from imex.dimse.negotiation import accept_for, choose_contexts, fragment_bytes, unacceptable
from imex.dimse.operations import Terms
from imex.dimse.pdu import PduType
from imex.dimse.stream import PduStream
from imex.hl7.answer import Verdict, acknowledgement
from imex.hl7.framing import FrameReader, FramingBroken, framed
from imex.hl7.message import MessageUnreadable
from imex.hl7.message import read as read_message

LIMITS: Final = Limits()
HEADER_LIMITS: Final = HeaderLimits(max_inflated_bytes=8 * 1024 * 1024, max_inflation_ratio=200)
SYNTAXES: Final = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.70",
    "1.2.3.4",
)
Parser = Callable[[bytes], None]


class _Receiver:
    """What the upper layer does with what its stream finds, without the association."""

    def __init__(self) -> None:
        self.inbox = Inbox(LIMITS)
        self.bytes = 0

    def on_pdu(self, kind: PduType, body: bytes) -> None:
        match kind:
            case PduType.ASSOCIATE_RQ:
                _request(body)
            case PduType.ASSOCIATE_AC:
                pdu.encode_associate_accept(_named(pdu.decode_associate_accept(body, LIMITS)))
            case PduType.ASSOCIATE_RJ:
                pdu.decode_associate_reject(body)
            case PduType.ABORT:
                pdu.decode_abort(body)
            case _:
                assert len(body) == 4

    def on_data_pdu(self) -> None:
        pass

    def on_fragment(self, context_id: int, command: bool, last: bool, data: memoryview) -> None:
        self.bytes += len(data)
        self.inbox.put_fragment(context_id, command, last, data)

    def taken(self) -> int:
        """Bytes that a reader gets."""
        count = 0
        while (indication := self.inbox.take()) is not None:
            assert isinstance(indication, Fragment)
            count += len(indication.data)
        return count


def pdus(data: bytes) -> None:
    """The byte stream of a peer, cut in pieces of the size that the first byte says."""
    if not data:
        return
    receiver = _Receiver()
    stream = PduStream(LIMITS, receiver)
    taken = 0
    try:
        for piece in _cut(data[1:], 1 + data[0] * 8):
            _feed(stream, piece)
            taken += receiver.taken()
    except ProtocolError:
        return
    assert taken + receiver.taken() == receiver.bytes <= len(data)


def associations(data: bytes) -> None:
    """The body of an A-ASSOCIATE-RQ and, from the same bytes, of an A-ASSOCIATE-AC."""
    with contextlib.suppress(ProtocolError):
        _request(data)
    with contextlib.suppress(ProtocolError):
        pdu.decode_associate_accept(data, LIMITS)


def commands(data: bytes) -> None:
    """A command set, and everything that is asked of it."""
    try:
        decoded = command.decode(data)
    except ProtocolError:
        return
    for tag in Tag:
        for asked in (decoded.number, decoded.uid, decoded.text):
            try:
                asked(tag)
            except ProtocolError:
                continue
    try:
        answer = command.response(decoded, 0xA700, "out of resources")
    except ProtocolError:
        return
    assert command.decode(answer).require_number(Tag.STATUS) == 0xA700


def headers(data: bytes) -> None:
    """A data set, in a transfer syntax and pieces that the first two bytes choose."""
    if len(data) < 2:
        return
    syntax, size = SYNTAXES[data[0] % len(SYNTAXES)], 1 + data[1] * 16
    scanner = HeaderScanner(syntax, HEADER_LIMITS)
    for piece in _cut(data[2:], size):
        scanner.feed(piece)
    header = scanner.finish()
    assert header.dataset_bytes == len(data) - 2
    whole = HeaderScanner(syntax, HEADER_LIMITS)
    whole.feed(data[2:])
    again = whole.finish()
    assert (header.elements, header.identity) == (again.elements, again.identity) or header.problem
    assert bool(header.problem) == bool(again.problem), (header.problem, again.problem)


def proxies(data: bytes) -> None:
    """A PROXY header."""
    header, body = data[: proxy.HEADER_BYTES], data[proxy.HEADER_BYTES :]
    try:
        proxy.source(header, body[: proxy.body_length(header)])
    except proxy.ProxyError:
        return


def bodies(data: bytes) -> None:
    """A multipart/related body: what a cut of the stream gives, a body in one piece gives, too."""
    cut, body = (data[0], data[1:]) if data else (1, b"")
    assert _parts([body]) == _parts([bytes(piece) for piece in _cut(body, cut or 1)])


def _parts(pieces: list[bytes]) -> list[tuple[object, bytes]] | None:
    """Headers and contents; None for a body that is refused."""
    reader = RelatedReader("b", most_parts=100)
    found: list[tuple[object, bytes]] = []
    try:
        for piece in pieces:
            for happening in reader.feed(piece):
                match happening:
                    case PartBegun(headers):
                        found.append((dict(headers), b""))
                    case PartPiece(content):
                        found[-1] = (found[-1][0], found[-1][1] + bytes(content))
                    case _:
                        assert found
        reader.finish()
    except BodyMalformed:
        return None
    return found


def openings(data: bytes) -> None:
    """How a part of a STOW-RS body begins."""
    cut, part = (data[0], data[1:]) if data else (1, b"")
    opening = Opening()
    with contextlib.suppress(NotDicom):
        for piece in _cut(part, cut or 1):
            if opening.feed(piece):
                break
        else:
            opening.finish()
        assert opening.transfer_syntax
        assert part.endswith(bytes(opening.dataset)) or bytes(opening.dataset) in part


def messages(data: bytes) -> None:
    """HL7 through MLLP: whole messages, however the stream is cut, and everything that is asked of one."""
    cut, stream = (data[0], data[1:]) if data else (1, b"")
    found, broken = _framed(stream, cut or 1)
    again, whole_broken = _framed(stream, len(stream) or 1)
    assert whole_broken or found == again
    assert broken == whole_broken
    for one in found[:_MOST_MESSAGES]:
        try:
            message = read_message(one)
        except MessageUnreadable:
            continue
        for segment in message.segments():
            for field in range(30):
                segment.repetitions(field)
        answer = acknowledgement(message, Verdict("AR", "no", "100"), _AT, "IMEX")
        assert read_message(answer).of("MSA")[0].text(1) in {"AR", "CR"}


_MOST_MESSAGES: Final = 20
_AT: Final = datetime(2026, 4, 2, tzinfo=UTC)


def _framed(stream: bytes, cut: int) -> tuple[list[bytes], bool]:
    reader = FrameReader(256 * 1024)
    found: list[bytes] = []
    try:
        for piece in _cut(stream, cut):
            found += reader.feed(bytes(piece))
    except FramingBroken:
        return found, True
    return found, False


PARSERS: Final[Mapping[str, Parser]] = {
    "pdus": pdus,
    "associations": associations,
    "commands": commands,
    "headers": headers,
    "proxies": proxies,
    "bodies": bodies,
    "openings": openings,
    "messages": messages,
}


def _request(body: bytes) -> None:
    request = pdu.decode_associate_request(body, LIMITS)
    if unacceptable(request) is None:
        results = choose_contexts(request.contexts, Terms())
        fragment_bytes(request.user_information.max_length, LIMITS)
        answer = pdu.encode_associate_accept(accept_for(request, results, LIMITS, b""))
        pdu.decode_associate_accept(answer[pdu.HEADER_BYTES :], LIMITS)


def _named(accept: pdu.AssociateAccept) -> pdu.AssociateAccept:
    return pdu.AssociateAccept("A", "B", accept.contexts, accept.user_information)


def _cut(data: bytes, size: int) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), size):
        yield view[start : start + size]


def _feed(stream: PduStream, data: memoryview) -> None:
    while data:
        room = stream.buffer()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        stream.received(count)
        data = data[count:]


def seeds(parser: str) -> Iterator[bytes]:  # noqa: PLR0912  one branch for each parser
    """Inputs that a parser likes, to begin with."""
    match parser:
        case "pdus":
            for cut in (0, 2, 255):
                yield bytes((cut,)) + _conversation()
        case "associations":
            yield _association()
        case "commands":
            yield command.store_request(1, SYNTAXES[0], "1.2.3", move_originator=("PACS", 7))
            yield command.echo_request(2, "1.2.840.10008.1.1")
        case "headers":
            for number in range(len(SYNTAXES)):
                yield bytes((number, 255)) + _data_set(number)
        case "proxies":
            addresses = bytes((192, 0, 2, 1, 192, 0, 2, 2)) + struct.pack(">HH", 4711, 104)
            yield proxy.SIGNATURE + struct.pack(">BBH", 0x21, 0x11, len(addresses)) + addresses
            yield proxy.SIGNATURE + struct.pack(">BBH", 0x21, 0x21, 36) + bytes(36)
            yield proxy.SIGNATURE + struct.pack(">BBH", 0x20, 0, 0)
        case "bodies":
            parts = (
                part_head("b", "application/dicom", first=first) + b"x\r\n--y" for first in (True, False)
            )
            body = b"".join(parts) + closing("b")
            for cut in (1, 7, 255):
                yield bytes((cut,)) + body
            yield b"\x01--b \t\r\n\r\none\r\n--b--\r\nepilogue"
        case "openings":
            for number, syntax in enumerate(SYNTAXES):
                yield bytes((255,)) + file_meta("1.2", "1.2.3", syntax) + _data_set(number)
        case "messages":
            for cut in (1, 7, 255):
                yield bytes((cut,)) + framed(_REPORT) + b"\r\n" + framed(_REPORT.replace(b"^", b"$"))


_REPORT: Final = (
    b"MSH|^~\\&|RIS|RT3|IMEX||20260402||ORU^R01|M1|P|2.5|||AL|||UNICODE UTF-8\r"
    b"PID|||123^^^RT3&1.2&ISO~456^^^NHS||O\\T\\K^A||19710403|M\r"
    b"OBX|1|TX|1&IMP^x^LN||one\\.br\\two\\X41\\~rep||||||F\r"
    b"OBX|2|ED|PDF||^AP^PDF^Base64^JVBERi0=||||||F\r"
    b"ZDS|1.2.3^A^B^C\r"
)


def _association() -> bytes:
    from imex.dimse.items import ProposedContext, RoleSelection, UserIdentity, UserInformation

    information = UserInformation(
        16384,
        "1.2.3",
        "SEED",
        (3, 1),
        (RoleSelection("1.2.840.10008.5.1.4.1.1.2", scu=True, scp=False),),
        (("1.2.840.10008.5.1.4.1.1.2", b"\1\0"),),
        UserIdentity(2, True, b"user", b"pass"),
    )
    contexts = (
        ProposedContext(1, "1.2.840.10008.5.1.4.1.1.2", SYNTAXES[:3]),
        ProposedContext(3, "1.2.840.10008.1.1", SYNTAXES[:1]),
    )
    request = pdu.AssociateRequest("IMEX", "PACS", contexts, information)
    return pdu.encode_associate_request(request)[pdu.HEADER_BYTES :]


def _conversation() -> bytes:
    body, asked = _association(), command.store_request(1, "1.2.840.10008.5.1.4.1.1.2", "1.2.3")
    return b"".join(
        (
            struct.pack(">BxI", PduType.ASSOCIATE_RQ, len(body)) + body,
            pdu.data_header(1, len(asked), command=True, last=True) + asked,
            pdu.data_header(1, 100, command=False, last=False) + bytes(100),
            pdu.data_header(1, 0, command=False, last=True),
            pdu.encode_release_request(),
            pdu.encode_abort(pdu.Abort(2, 1)),
        )
    )


def _data_set(number: int) -> bytes:
    import zlib

    from pydicom.dataset import Dataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset
    from pydicom.sequence import Sequence

    issuer, inner = Dataset(), Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
    inner.ReferencedSOPInstanceUID = "1.2.3.4"
    dataset = Dataset()
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.StudyDate, dataset.Modality, dataset.PatientName = "20260101", "CT", "TEST^A"
    dataset.IssuerOfPatientIDQualifiersSequence = Sequence([issuer])
    dataset.ReferencedImageSequence = Sequence([inner, inner])
    dataset.StudyInstanceUID, dataset.Rows, dataset.Columns = "1.2.3", 2, 2
    dataset.BitsAllocated, dataset.SamplesPerPixel, dataset.NumberOfFrames = 8, 1, 1
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = number != 2, number in (0, 5)
    write_dataset(out, dataset)
    data = out.getvalue()
    match number:
        case 3:
            packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
            return packer.compress(data) + packer.flush()
        case 4:
            fragment = struct.pack("<HHI", 0xFFFE, 0xE000, 4)
            begin = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + fragment + bytes(4)
            return data + begin + fragment + bytes(4) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        case _:
            return data
