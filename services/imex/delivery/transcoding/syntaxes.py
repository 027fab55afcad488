"""Which transfer syntaxes pixel data can be brought into without further loss. Pure."""

from typing import Final

EXPLICIT: Final = "1.2.840.10008.1.2.1"
IMPLICIT: Final = "1.2.840.10008.1.2"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
RLE: Final = "1.2.840.10008.1.2.5"

LOSSLESS: Final = frozenset({
    "1.2.840.10008.1.2.4.57",   # JPEG Lossless
    "1.2.840.10008.1.2.4.70",   # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",   # JPEG-LS Lossless
    JPEG_2000_LOSSLESS,
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless, RPCL
    RLE,
})  # fmt: skip
"""Compressed without loss: every decoder has to find the same pixels."""
LOSSY: Final = frozenset({
    "1.2.840.10008.1.2.4.50",   # JPEG Baseline
    "1.2.840.10008.1.2.4.51",   # JPEG Extended
    "1.2.840.10008.1.2.4.81",   # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.91",   # JPEG 2000
    "1.2.840.10008.1.2.4.203",  # HTJ2K
})  # fmt: skip
"""Compressed with loss, or perhaps: decompressing adds none."""


def transcodable_to(transfer_syntax: str) -> tuple[str, ...]:
    """The transfer syntaxes into which pixel data can be brought without loss, the favoured first."""
    if transfer_syntax in LOSSLESS or transfer_syntax in LOSSY:
        return (EXPLICIT, IMPLICIT)
    if transfer_syntax in {EXPLICIT, IMPLICIT}:
        return (JPEG_2000_LOSSLESS, RLE)
    return ()
