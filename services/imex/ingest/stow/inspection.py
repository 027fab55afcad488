"""Pure: which data sets of a store transaction are named as failed, where a C-STORE would take them."""

from dataclasses import dataclass
from typing import Final

from imex.dicom import Header
from imex.dicom.iods import needs_pixels
from imex.dicomweb import outcome
from imex.dimse import StoreResponse
from imex.dimse.sop_classes import is_storage

_JPIP: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (94, 95, 204, 205))
"""Images whose pixels are somewhere else."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one part is held to; `study` is the path's, empty where it names none."""

    study: str
    sop_class_uid: str
    transfer_syntax: str

    def of(self, header: Header, *, complete: bool) -> StoreResponse | None:
        """See imex.ingest.sink.Inspects; statuses are Failure Reasons (PS3.18 I.2.2), as C-STORE has."""
        if self.sop_class_uid and not is_storage(self.sop_class_uid):
            return StoreResponse(outcome.CLASS_NOT_SUPPORTED, "this SOP class is not one of storage")
        if complete and self._ends_in_header(header):
            return StoreResponse(outcome.NOT_UNDERSTOOD, "the part ends in its header")
        if self.study and header.elements.study_uid != self.study:
            return StoreResponse(outcome.OTHER_STUDY, "it belongs to another study than the path's")
        return None

    def _ends_in_header(self, header: Header) -> bool:
        """What ends between two elements looks whole, but lacks what stands further on."""
        if header.pixel_at is not None:
            return False
        image = needs_pixels(self.sop_class_uid) and self.transfer_syntax not in _JPIP
        return header.cut_short or image or not header.elements.sop_instance_uid
