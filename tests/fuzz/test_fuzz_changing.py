"""What a run of the fuzzer found of headers, changed on the way out: it is changed, or refused in words."""

from pathlib import Path

import pytest

from imex.deidentification.keys import ProjectKey
from imex.delivery.changing.decide import CannotChange
from imex.delivery.changing.deidentified import make_head
from imex.dicom.head import HeadFinder, HeadTooLarge, HeadUnreadable
from imex.dicom.syntax import encoding_of
from imex.directory.policies import Deidentification
from imex.testing.fuzzing import SYNTAXES

CORPUS = sorted((Path(__file__).parent / "corpus" / "headers").iterdir())
ASKED = Deidentification(
    project="p",
    options=("clean-descriptors", "clean-structured-content", "retain-longitudinal-modified-dates"),
)
KEY = ProjectKey(bytes(32), "p")


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name[:12])
def test_it_is_changed_or_refused(path: Path) -> None:
    data = path.read_bytes()
    encoding = encoding_of(SYNTAXES[data[0] % len(SYNTAXES)])
    if encoding.deflated:
        return
    finder = HeadFinder(encoding, 1 << 20)
    try:
        if not finder.feed(data[2:]):
            finder.finish()
        made = make_head(bytes(finder.held[: finder.end]), encoding, ASKED, KEY, "RQM", pixels=False)
    except (CannotChange, HeadTooLarge, HeadUnreadable):
        return
    assert made.held or made.head
