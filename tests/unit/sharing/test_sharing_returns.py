"""Results go back under agreements alone: by example, and recorded as every decision is."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.directory import DirectoryIndex, StudyFacts, parse
from imex.routing.carrying import carried
from imex.routing.completeness import missing, settled
from imex.sharing.decide import consider
from imex.sharing.decisions import UNMARKED, Background, Open, Question, Returning, Widen
from imex.sharing.explained import explain
from imex.sharing.model import Share, Study
from imex.sharing.recorded import Answer, RecordedQuestion, replay
from imex.sharing.results import RESULT_CLASSES, extent

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CAUSE = UUID(int=7)
DIRECTORY = """
institutions:
  - {code: RQM, name: A, kind: nhs, endpoints: [{name: desk, type: inbox}]}
  - {code: AI1, name: B, kind: ai, endpoints: [{name: desk, type: inbox}]}
agreements:
  - {id: there, from: RQM, to: AI1, purposes: [direct-care], legal_basis: basis%s}
  - {id: back, from: AI1, to: RQM, purposes: [direct-care], legal_basis: basis, modalities: [SR]}
rules:
  - {id: r1, match: {source: AI1, modality: MR}, to: [RQM]}
"""


def index_of(returns: str = "") -> DirectoryIndex:
    return DirectoryIndex(parse(DIRECTORY % (f", returns: {returns}" if returns else "")))


def question(*, fresh: bool = True, **more: Any) -> Question:
    cause = Returning("RQM", CAUSE, "direct-care", "urgent", "there", 5, fresh)
    values = {
        "study_uid": "1.2.3",
        "facts": StudyFacts("AI1", frozenset({"CT", "SR"}), frozenset()),
        "at": NOW,
        "passage": 1,
        "standing": True,
        "background": Background(
            UNMARKED.marks, frozenset({"RQM"}), results=frozenset({"SR"}), returning=(cause,)
        ),
        **more,
    }
    return Question(**values)


def test_a_return_is_judged_by_its_results_alone() -> None:
    [opened] = consider(index_of(), question()).planned
    assert isinstance(opened, Open)
    assert opened.judgement.agreement == "back"
    wish = opened.addressed
    assert (wish.recipient, wish.origin, wish.priority, wish.quiet_s) == ("RQM", "return", "urgent", 5)
    assert not wish.completeness.expected


def test_nothing_that_the_origin_has_itself_goes_back() -> None:
    assert not consider(index_of(), question(fresh=False)).planned


def test_what_was_addressed_to_others_alone_does_not_go_back() -> None:
    asked = question(standing=False, recipients=frozenset({"XYZ"}))
    assert {one.addressed.recipient for one in consider(index_of(), asked).planned} == {"XYZ"}


def returning(index: DirectoryIndex, **more: Any) -> Share:
    return Share(
        UUID(int=1), "AI1", "1.2.3", "RQM", "direct-care", 1, 1, "urgent", "return", index.version, NOW, NOW,
        **{"state": "delivered", "agreement": "back", "parts": 1, **more},
    )  # fmt: skip


MIXED = Background(
    UNMARKED.marks,
    results=frozenset({"SR"}),
    returning=(Returning("RQM", CAUSE, "direct-care", "urgent", "there", mixed=True),),
)


@pytest.mark.parametrize("returns", ["", "automatic"])
@pytest.mark.parametrize("state", [None, "collecting", "delivering", "delivered"])
def test_results_that_are_somebody_else_s_too_return_to_nobody(returns: str, state: Any) -> None:
    """Not even as a refusal in words, which would tell of them."""
    index = index_of(returns)
    under_way = (returning(index, state=state),) if state else ()
    outcome = consider(index, question(background=MIXED, shares=under_way))
    assert not outcome.planned
    assert [one.addressed.recipient for one in outcome.spared] == ["RQM"]
    assert [one.share for one in outcome.withheld] == list(under_way)


@pytest.mark.parametrize("state", ["collecting", "delivered", "refused", "revoked"])
def test_results_that_are_somebody_else_s_too_go_to_whom_they_are_addressed(state: Any) -> None:
    index = index_of()
    facts = StudyFacts("AI1", frozenset({"SR"}), frozenset())
    ended = returning(index, state=state)
    called = question(background=MIXED, shares=(ended,), facts=facts, recipients=frozenset({"RQM"}))
    [opened] = consider(index, called).planned
    assert isinstance(opened, Open)
    assert (opened.addressed.origin, opened.episode, opened.judgement.agreement) == ("called", 2, "back")


def test_who_asks_for_all_of_it_widens_what_returns() -> None:
    index = index_of()
    back = returning(index)
    called = question(
        standing=False,
        recipients=frozenset({"RQM"}),
        facts=StudyFacts("AI1", frozenset({"SR"}), frozenset()),
        shares=(back,),
    )
    [widened] = consider(index, called).planned
    assert isinstance(widened, Widen)
    assert widened.share == back
    assert Answer.of(consider(index, called)).decided[0].action == "widen"
    assert explain(index, called).wishes[0].action == "widen"


@given(
    returns=st.sampled_from(["", "automatic", "addressed"]),
    fresh=st.booleans(),
    standing=st.booleans(),
    results=st.sampled_from([frozenset({"SR"}), frozenset({"SEG"})]),
)
def test_a_recorded_return_is_decided_the_same_again(
    returns: str, fresh: bool, standing: bool, results: frozenset[str]
) -> None:
    index = index_of(returns)
    background = Background(
        UNMARKED.marks, results=results, returning=question(fresh=fresh).background.returning
    )
    asked = question(standing=standing, background=background)
    recorded = RecordedQuestion.of(asked, index.version)
    again = RecordedQuestion.model_validate_json(recorded.model_dump_json())
    assert again.question().background == background
    outcome = consider(index, asked)
    assert replay(index, again) == Answer.of(outcome)
    for one in outcome.planned:
        assert isinstance(one, Open)
        covered = results == frozenset({"SR"})
        assert one.judgement.covered is covered
        assert covered or returns == "automatic", "a refusal is told only where returns are agreed"


COUNTS = st.integers(0, 5)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_share_is_whole_when_all_that_it_carries_is_confirmed(  # noqa: PLR0917
    results: int, images: int, held: int, held_images: int, confirmed: int, failed: int
) -> None:
    study = Study(
        "AI1", "1.2.3", "bulk", "t", 0, NOW, NOW, NOW,
        validated=results + images, waiting=held + held_images,
    )  # fmt: skip
    confirmed = min(confirmed, results)
    failed = min(failed, results - confirmed)
    share = Share(
        UUID(int=1), "AI1", "1.2.3", "RQM", "direct-care", 1, 1, "urgent", "return", "v", NOW, NOW,
        state="delivering", complete=True, parts=1, handed=results, confirmed=confirmed, failed=failed,
        left_out={"validated": images, "waiting": held_images},
    )  # fmt: skip
    assert carried(study, share).received == results + held
    assert missing(study, share) == results + held - confirmed
    found = settled(study, share)
    if confirmed + failed < results:
        assert found is None
    else:
        assert found is not None
        assert (found.name == "WHOLE") is (confirmed == results and held == 0)


def test_no_image_and_no_rejection_note_is_a_result() -> None:
    assert "1.2.840.10008.5.1.4.1.1.2" not in RESULT_CLASSES
    assert "1.2.840.10008.5.1.4.1.1.88.59" not in RESULT_CLASSES
    assert {"1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.104.1"} <= RESULT_CLASSES
    assert extent("return") == "results"
