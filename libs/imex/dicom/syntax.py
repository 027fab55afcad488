"""What a transfer syntax means for reading: PS3.5 section 10 and annex A."""

from dataclasses import dataclass
from typing import Final

IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
GE_PRIVATE_IMPLICIT_BIG_PIXELS: Final = "1.2.840.113619.5.2"
_JPIP_DEFLATED: Final = frozenset({"1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a data set is written down.

    ``encapsulated`` says that pixel data comes in fragments (PS3.5 A.4); every such syntax is Explicit VR
    Little Endian otherwise.
    """

    implicit: bool = False
    big_endian: bool = False
    deflated: bool = False
    encapsulated: bool = False


def encoding_of(transfer_syntax: str) -> Encoding:
    """The encoding of a transfer syntax; an unknown one is read as encapsulated Explicit Little Endian.

    PS3.5 fixes that reading for every syntax added since (section 10, annex A.4).
    """
    if transfer_syntax in (IMPLICIT_LITTLE_ENDIAN, GE_PRIVATE_IMPLICIT_BIG_PIXELS):
        return Encoding(implicit=True)
    if transfer_syntax == EXPLICIT_LITTLE_ENDIAN:
        return Encoding()
    if transfer_syntax == DEFLATED_LITTLE_ENDIAN:
        return Encoding(deflated=True)
    if transfer_syntax == EXPLICIT_BIG_ENDIAN:
        return Encoding(big_endian=True)
    return Encoding(deflated=transfer_syntax in _JPIP_DEFLATED, encapsulated=True)
