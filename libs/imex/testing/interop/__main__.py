"""`python -m imex.testing.interop`: have the peers that are built rather than installed."""

import sys

from imex.local.cache import PartUnavailable
from imex.testing.interop import dcmjs, dicom_rs


def main() -> None:
    """Build what the cache does not have yet; ends with the reason where that cannot be done."""
    try:
        dicom_rs.tools()
        dcmjs.tools()
    except PartUnavailable as problem:
        sys.exit(f"error: {problem}")


if __name__ == "__main__":
    main()
