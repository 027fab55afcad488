"""The few XML bodies of S3 that are read or written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from imex.storage.port import ObjectInfo


@dataclass(frozen=True, slots=True)
class Page:
    """One page of ListObjectsV2; ``token`` asks for the next one."""

    objects: tuple[ObjectInfo, ...]
    token: str | None


def _root(body: bytes | bytearray) -> ET.Element | None:
    # Expat of Python 3.11 bounds entity expansion, and the store is a part of our own.
    try:
        return ET.fromstring(body)  # noqa: S314
    except ET.ParseError:
        return None


def _text(element: ET.Element, name: str) -> str:
    found = element.find(f"{{*}}{name}")
    return "" if found is None or found.text is None else found.text


def error_code(body: bytes | bytearray) -> str:
    """The code of an error body; empty when there is none."""
    root = _root(body) if body else None
    return "" if root is None or not root.tag.endswith("Error") else _text(root, "Code")


def upload_id(body: bytes | bytearray) -> str:
    """The id of a multipart upload that was begun."""
    root = _root(body)
    return "" if root is None else _text(root, "UploadId")


def completion(etags: Sequence[str]) -> bytes:
    """The body of CompleteMultipartUpload."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


def listing(body: bytes | bytearray) -> Page:
    """A page of ListObjectsV2."""
    root = _root(body)
    if root is None:
        return Page((), None)
    objects = tuple(
        ObjectInfo(
            _text(each, "Key"),
            int(_text(each, "Size") or 0),
            datetime.fromisoformat(_text(each, "LastModified")),
        )
        for each in root.findall("{*}Contents")
    )
    more = _text(root, "IsTruncated") == "true"
    return Page(objects, _text(root, "NextContinuationToken") or None if more else None)
