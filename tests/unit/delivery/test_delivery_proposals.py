"""What is proposed to a DICOM node, and the words for what is not."""

from hypothesis import given
from hypothesis import strategies as st

from imex.delivery.targets.proposals import candidates, propose, refusal
from imex.dicom.rewriting import DEFLATED, EXPLICIT, IMPLICIT
from imex.directory.model import Accepts

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
ANYTHING = Accepts()

contexts = st.tuples(
    st.integers(1, 200).map(lambda n: f"1.2.3.{n}"),
    st.sampled_from([EXPLICIT, IMPLICIT, JPEG_2000, DEFLATED]),
)


def test_the_stored_syntax_comes_first_and_what_it_can_be_rewritten_into_next() -> None:
    assert candidates(ANYTHING, {}, (CT, EXPLICIT)) == (EXPLICIT, IMPLICIT)
    assert candidates(ANYTHING, {}, (CT, DEFLATED)) == (DEFLATED, EXPLICIT, IMPLICIT)
    assert candidates(ANYTHING, {}, (CT, JPEG_2000)) == (JPEG_2000,)


def test_what_the_directory_does_not_list_is_not_asked_for() -> None:
    only = Accepts(transfer_syntaxes=(IMPLICIT,), sop_classes=(CT,))
    assert candidates(only, {}, (CT, EXPLICIT)) == (IMPLICIT,)
    assert candidates(only, {}, (CT, JPEG_2000)) == ()
    assert candidates(only, {}, (MR, IMPLICIT)) == ()
    assert "JPEG 2000" in refusal(only, {}, (CT, JPEG_2000))
    assert "directory entry does not accept MR Image Storage" in refusal(only, {}, (MR, IMPLICIT))
    assert refusal(only, {}, (CT, EXPLICIT)) == ""


def test_what_was_refused_is_not_asked_for_again() -> None:
    refused = {(CT, EXPLICIT): "no explicit"}
    assert candidates(ANYTHING, refused, (CT, EXPLICIT)) == (IMPLICIT,)
    refused[CT, IMPLICIT] = "no implicit"
    assert refusal(ANYTHING, refused, (CT, EXPLICIT)).startswith("no explicit")
    assert refusal(ANYTHING, {(CT, ""): "no CT"}, (CT, IMPLICIT)) == "no CT"


@given(st.lists(contexts, max_size=300), st.lists(contexts, max_size=50))
def test_a_proposal_fits_an_association_and_asks_for_all_that_it_covers(
    wanted: list[tuple[str, str]], earlier: list[tuple[str, str]]
) -> None:
    made = propose(ANYTHING, {}, wanted, earlier)
    assert len(made.contexts) == len(set(made.contexts)) <= 128
    assert set(made.needed) == {(sop, candidates(ANYTHING, {}, (sop, ts))[0]) for sop, ts in made.covered}
    assert set(made.needed) <= set(made.contexts)
    assert made.covered <= set(wanted)
    if wanted:
        assert wanted[0] in made.covered
    if len(set(wanted)) <= 128:
        assert made.covered == set(wanted)
