"""What counts as a result, and which of a study's instances a share carries. Pure.

A result is what somebody makes of images: it goes back by itself to who shared them. What a modality writes
of itself (dose reports, procedure logs) is none. Key object selections are none either: a rejection note is
one (IHE IOCM), and one that a recipient writes for its own archive would reject the source's images.
"""

from typing import Literal

from imex.sharing.model import Origin

_ROOT = "1.2.840.10008.5.1.4.1.1"
_REPORTS = (11, 22, 33, 34, 35, 50, 65, 69, 70, 72)
_SEGMENTATIONS = (1, 2, 3, 4, 5, 6, 7, 8)

RESULT_CLASSES: frozenset[str] = frozenset(
    [
        # structured reports: text, enhanced, comprehensive, 3D, extensible, CAD (mammography, chest, colon),
        # implantation plans, adult echocardiography
        *(f"{_ROOT}.88.{number}" for number in _REPORTS),
        # registrations, fiducials, segmentations (also surfaces, label and height maps), tractography
        *(f"{_ROOT}.66.{number}" for number in _SEGMENTATIONS),
        f"{_ROOT}.67",  # real world value mapping
        f"{_ROOT}.30",  # parametric maps
        # radiotherapy: images, dose, structure sets, plans, treatment records, second generation objects
        *(f"{_ROOT}.481.{number}" for number in range(1, 30)),
        # encapsulated PDF, CDA, STL, OBJ, MTL
        *(f"{_ROOT}.104.{number}" for number in range(1, 6)),
        # presentation states
        *(f"{_ROOT}.11.{number}" for number in range(1, 13)),
        # secondary capture, and its multi-frame kinds
        f"{_ROOT}.7",
        *(f"{_ROOT}.7.{number}" for number in range(1, 5)),
    ]
)
"""SOP classes of results (PS3.4 B.5)."""

Extent = Literal["all", "results", "news"]
"""What a share carries of its study: all of it; what its recipient has not sent itself of its results; or all
but the results that its recipient has sent itself."""

_EXTENTS: dict[Origin, Extent] = {
    "rule": "news",
    "prior": "news",
    "return": "results",
    "called": "all",
    "command": "all",
}


def extent(origin: Origin) -> Extent:
    """What a share of this origin carries.

    What a person or a called AE title asks for is carried as it is. What nobody asks for by name never
    carries a result back to who made it: a recipient that works on whatever comes would not stop.
    """
    return _EXTENTS[origin]
