"""docs/joining.md has every failure, as the registry tells it."""

from pathlib import Path

from imex.simulation.failures import FAILURES
from imex.simulation.sender import SENDER_FAILURES

DOCUMENT = (Path(__file__).parents[3] / "docs" / "joining.md").read_text()
NAMES = {"dicom": "DICOM", "dicomweb": "DICOMweb"}


def test_every_failure_of_a_pacs_is_in_the_table() -> None:
    for one in FAILURES:
        types = ", ".join(NAMES[type_] for type_ in one.types)
        assert f"| `{one.name}` | {types} | {one.does} | {one.sender} |\n" in DOCUMENT, one.name


def test_every_failure_of_a_sender_is_in_the_table() -> None:
    for one in SENDER_FAILURES:
        assert f"| `{one.name}` | {one.does} | {one.receiver} |" in DOCUMENT, one.name
