"""Pure reading of DICOM data sets: structure, header facts, identifiers, Part-10 framing.

Nothing here does I/O, and nothing raises because of what a peer sent: what is wrong with a data set is said
in words in :attr:`Header.problem`.
"""

from imex.dicom.header import Elements, Header, Identity, Limits
from imex.dicom.identifiers import compact, is_nhs_issuer, nhs_number_valid, qualified, valid_uid
from imex.dicom.part10 import dataset_digest, dataset_offset, file_meta, transfer_syntax_of
from imex.dicom.pixels import expected_pixel_bytes
from imex.dicom.scanner import HeaderScanner
from imex.dicom.syntax import Encoding, encoding_of

__all__ = [
    "Elements",
    "Encoding",
    "Header",
    "HeaderScanner",
    "Identity",
    "Limits",
    "compact",
    "dataset_digest",
    "dataset_offset",
    "encoding_of",
    "expected_pixel_bytes",
    "file_meta",
    "is_nhs_issuer",
    "nhs_number_valid",
    "qualified",
    "transfer_syntax_of",
    "valid_uid",
]
