"""Parameters of a search: what is refused in words before the database sees it, and how much is returned."""

import pytest

from imex.portal.dicomweb.matching import read
from imex.portal.problems import Problem


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "AccessionNumber", "ModalitiesInStudy"])
@pytest.mark.parametrize("value", ["A\0B", "\0", "A\udcffB"])
def test_what_is_no_text_is_refused_without_being_quoted(keyword: str, value: str) -> None:
    with pytest.raises(Problem, match=f"{keyword} has a character that no text has") as refused:
        read([(keyword, value)], "studies", 10)
    assert refused.value.status_code == 400


def test_a_list_of_uids_may_be_longer_than_a_text_and_leaves_the_limit_as_it_is() -> None:
    uids = ",".join(f"1.2.826.0.1.3680043.8.498.{number:030}" for number in range(100))
    for key in (("StudyInstanceUID", uids), ("PatientID", "1")):
        assert read([key, ("limit", "100000")], "studies", 50).limit == 50
    with pytest.raises(Problem, match="longer than 256"):
        read([("PatientID", "1" * 257)], "studies", 50)
