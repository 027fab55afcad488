"""How long native pixel data has to be: PS3.5 section 8.1 and annex D, PS3.3 section C.7.6.3."""

from imex.dicom.header import Elements

_HALF_SAMPLED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})


def expected_pixel_bytes(elements: Elements) -> int | None:
    """Length in bytes of native pixel data, padded to an even number; ``None`` where a factor is missing.

    Single-bit pixels are packed across rows and frames.
    """
    bits = frame_bits(elements)
    frames = 1 if elements.number_of_frames is None else elements.number_of_frames
    if bits is None or frames < 1:
        return None
    length = -(-bits * frames // 8)
    return length + length % 2


def frame_bits(elements: Elements) -> int | None:
    """Bits of one frame of native pixel data; ``None`` where a factor is missing.

    Photometric interpretations with chroma at half rate hold two samples for a pixel in native form.
    """
    rows, columns, bits = elements.rows, elements.columns, elements.bits_allocated
    if not rows or not columns or not bits:
        return None
    samples = elements.samples_per_pixel or 1
    if samples == 3 and elements.photometric_interpretation in _HALF_SAMPLED:
        samples = 2
    return rows * columns * samples * bits
