"""The push scanner: encoded data set in, header facts out."""

import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

from imex.dicom import text, wanted
from imex.dicom.header import Elements, Header, Identity, Limits
from imex.dicom.identifiers import valid_uid
from imex.dicom.iods import conformance
from imex.dicom.pixels import expected_pixel_bytes
from imex.dicom.syntax import encoding_of
from imex.dicom.walker import Walker
from imex.dicom.wanted import Kind, Want

_INFLATE_STEP: Final = 256 * 1024
_DEFLATE_TRAILER: Final = 9  # padding (PS3.5 A.5), or the checksum and size that some writers add
_RATIO_FROM: Final = 64 * 1024**2
_INTEGER = re.compile(rb"[+-]?[0-9]{1,12}")


class HeaderScanner:
    """Reads a data set's header facts and checks its structure from its first byte to its last.

    Feed it the encoded data set in pieces of any size, then call :meth:`finish`. Pixel bytes are neither
    kept nor copied. It never raises because of its input: see :attr:`Header.problem`.
    """

    def __init__(self, transfer_syntax: str, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._encoding = encoding_of(transfer_syntax)
        self._walker = Walker(self._encoding, self._limits)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if self._encoding.deflated else None
        self._bytes = 0
        self._inflated = 0
        self._problem: str | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the encoded data set. They may be reused by the caller afterwards."""
        self._bytes += len(data)
        if self._problem is not None or self._walker.problem is not None:
            return
        if self._inflater is None:
            self._walker.feed(data)
        else:
            self._inflate(self._inflater, data)

    def finish(self) -> Header:
        """The header, when all bytes were fed."""
        inflater = self._inflater
        if inflater is not None and self._problem is None and self._walker.problem is None:
            if not inflater.eof:
                self._problem = "truncated: the deflated data set has no end" if self._bytes else None
            elif len(inflater.unused_data) > _DEFLATE_TRAILER:
                self._problem = "bytes after the end of the deflated data set"
        if self._problem is None:
            self._walker.finish()
        return self._header(self._problem or self._walker.problem)

    @property
    def pixel_at(self) -> int | None:
        """Where the pixel data's value begins, as soon as that is known; bytes of the (inflated) data set."""
        return self._walker.pixel_at

    def so_far(self) -> Header:
        """What is known while bytes are still to come."""
        return self._header(self._problem or self._walker.problem)

    def _inflate(self, inflater: "zlib._Decompress", data: bytes | bytearray | memoryview) -> None:
        pending: bytes | bytearray | memoryview = data
        more = True
        while more and self._walker.problem is None and not inflater.eof:
            try:
                piece = inflater.decompress(pending, _INFLATE_STEP)
            except zlib.error:
                self._problem = f"the deflated data set is damaged near byte {self._bytes}"
                return
            self._inflated += len(piece)
            most = min(
                self._limits.max_inflated_bytes,
                max(_RATIO_FROM, self._bytes * self._limits.max_inflation_ratio),
            )
            if self._inflated > most:
                self._problem = f"inflates beyond the limit of {most} bytes"
                return
            self._walker.feed(piece)
            pending = inflater.unconsumed_tail
            # A full piece may leave output inside zlib though all input is taken.
            more = bool(pending) or len(piece) == _INFLATE_STEP

    def _header(self, problem: str | None) -> Header:
        walker = self._walker
        declared = walker.values.get((0, 0x00080005), b"").decode("ascii", "replace").strip(" \0")
        encodings, known = text.encodings_of(declared)
        decoder = _Decoder(walker.values, encodings, ">" if self._encoding.big_endian else "<")
        found = decoder.fields(wanted.ELEMENTS)
        found["private_creators"] = tuple(text.decode(raw, ["iso8859"]) for raw in walker.private_creators)
        found["referenced_studies"] = decoder.referenced_studies()
        elements = Elements(**found)
        identity = Identity(
            **decoder.fields(wanted.IDENTITY),
            issuer_of_patient_id_oid=decoder.nested(
                wanted.ISSUER_OF_PATIENT_ID_QUALIFIERS, wanted.UNIVERSAL_ENTITY_ID
            ),
            issuer_of_accession=decoder.nested(wanted.ISSUER_OF_ACCESSION, wanted.LOCAL_NAMESPACE)
            or decoder.nested(wanted.ISSUER_OF_ACCESSION, wanted.UNIVERSAL_ENTITY_ID),
            other_patient_ids=decoder.other_patient_ids()
            if (wanted.OTHER_PATIENT_IDS, wanted.PATIENT_ID) in walker.values
            else (),
        )
        warnings = list(decoder.warnings)
        if walker.out_of_order:
            warnings.append("elements are not in ascending order")
        if not known:
            warnings.append("the character set is not known")
        native = walker.pixel_bytes is not None and not self._encoding.encapsulated
        return Header(
            elements=elements,
            identity=identity,
            problem=problem,
            warnings=tuple(warnings),
            pixel_bytes=walker.pixel_bytes,
            pixel_bytes_expected=expected_pixel_bytes(elements) if native else None,
            pixel_at=walker.pixel_at,
            conformance=conformance(elements.sop_class_uid, walker.lengths, walker.malformed, walker.odd),
            dataset_bytes=self._bytes,
        )


class _Decoder:
    """Turns the kept values into fields."""

    def __init__(self, values: dict[tuple[int, int], bytes], encodings: Sequence[str], order: str) -> None:
        self._values = values
        self._encodings = encodings
        self._short = struct.Struct(order + "H")
        self.warnings: list[str] = []

    def fields(self, table: dict[int, Want]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        values = self._values
        for tag, (field, kind) in table.items():
            raw = values.get((0, tag))
            if not raw:
                continue
            if kind == Kind.TEXT and raw.isascii() and 0x1B not in raw:
                found[field] = raw.decode("ascii").strip(" \0")  # nearly every value is one of these
            else:
                found[field] = self._value(raw, field, kind)
        return found

    def nested(self, sequence: int, tag: int) -> str:
        raw = self._values.get((sequence, tag), b"")
        return text.decode(raw, self._encodings)

    def other_patient_ids(self) -> tuple[tuple[str, str], ...]:
        found = []
        for item in range(wanted.EVERY_ITEM[wanted.OTHER_PATIENT_IDS]):
            place = wanted.OTHER_PATIENT_IDS + (item << 32)
            if identifier := self.nested(place, wanted.PATIENT_ID):
                found.append((self.nested(place, wanted.ISSUER_OF_PATIENT_ID), identifier))
        return tuple(found)

    def referenced_studies(self) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for sequence, tag in wanted.REFERENCED_STUDIES.items():
            for item in range(wanted.MOST_REFERENCES):
                raw = self._values.get((sequence + (item << 32), tag))
                if raw is None:
                    break
                if valid_uid(uid := raw.decode("ascii", "replace").strip(" \0")):
                    found[uid] = None
        return tuple(found)

    def _value(self, raw: bytes, field: str, kind: str) -> str | int | None:
        if kind == Kind.UID:
            return raw.decode("ascii", "replace").strip(" \0")
        if kind == Kind.SHORT:
            if len(raw) >= 2:
                return int(self._short.unpack_from(raw)[0])
            self.warnings.append(f"{field} has no usable value")
            return None
        if kind == Kind.NUMBER:
            stripped = raw.strip(b" \0")
            if _INTEGER.fullmatch(stripped):
                return int(stripped)
            if stripped:
                self.warnings.append(f"{field} is not a number")
            return None
        value = text.decode(raw, self._encodings, person_name=kind == Kind.NAME)
        if "\ufffd" in value:
            self.warnings.append(f"{field} cannot be decoded with the stated character set")
        return value
