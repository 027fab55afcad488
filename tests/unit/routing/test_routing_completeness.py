"""When a study is complete, and what a delivery has come to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.routing.completeness import Closing, closing, missing, missing_words, settled
from imex.routing.states import Fact
from imex.routing.studies import due, finished
from imex.sharing.model import Share, Study

NOW = datetime(2026, 3, 2, tzinfo=UTC)
STUDY = Study(
    source="RQM",
    study_uid="1.2",
    lane="bulk",
    topic="validations.bulk",
    partition=0,
    first_received_at=NOW,
    last_activity_at=NOW,
    seen_at=NOW,
    validated=2,
)
SHARE = Share(
    id=uuid4(),
    source="RQM",
    study_uid="1.2",
    recipient="RT3",
    purpose="direct-care",
    episode=1,
    passage=1,
    priority="routine",
    origin="rule",
    directory_version="v",
    created_at=NOW,
    updated_at=NOW,
    state="collecting",
)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def look(*shares: Share, read: float, open_: bool = False) -> Closing:
    return closing(
        STUDY,
        shares,
        read_through=after(read),
        open_associations=open_,
        default_quiet_s=60,
        association_grace_s=90,
    )


def test_before_its_quiet_time_a_study_stays_open() -> None:
    assert look(SHARE, read=59) == Closing((), after(60))


def test_after_its_quiet_time_it_is_closed() -> None:
    assert look(SHARE, read=60) == Closing((SHARE,), None)


def test_shares_close_each_in_their_own_time() -> None:
    quick, slow = replace(SHARE, quiet_s=5), replace(SHARE, id=uuid4(), quiet_s=300)
    assert look(quick, slow, read=10) == Closing((quick,), after(300))


def test_an_open_association_holds_it_open_up_to_the_grace() -> None:
    assert look(SHARE, read=70, open_=True).complete == ()
    assert look(SHARE, read=90, open_=True).complete == (SHARE,)


def test_a_study_without_shares_is_closed_too() -> None:
    assert look(read=59) == Closing((), after(60))
    assert look(read=60) == Closing((), None)


@pytest.mark.parametrize("state", ["refused", "failed", "cancelled", "revoked", "expired", "requested"])
def test_a_share_that_is_not_collecting_is_not_completed(state: Any) -> None:
    assert look(replace(SHARE, state=state), read=100) == Closing((), None)


def test_a_late_instance_closes_the_manifest_again() -> None:
    late = replace(SHARE, state="delivering", complete=False)
    assert look(late, read=60).complete == (late,)
    assert look(replace(late, complete=True), read=60).complete == ()


@given(st.floats(0, 1000), st.booleans(), st.lists(st.one_of(st.none(), st.integers(0, 500)), max_size=4))
def test_what_is_not_complete_is_looked_at_later_and_nothing_closes_early(
    read: float, open_: bool, quiets: list[int | None]
) -> None:
    shares = [replace(SHARE, id=uuid4(), quiet_s=quiet) for quiet in quiets]
    found = look(*shares, read=read, open_=open_)
    for share in found.complete:
        assert read >= (60 if share.quiet_s is None else share.quiet_s)
    if found.next_due is None:
        assert len(found.complete) == len(shares)
    else:
        assert found.next_due > after(read)


def test_the_first_share_to_be_complete_says_when_to_look() -> None:
    assert due(STUDY, [SHARE, replace(SHARE, quiet_s=5)], 60) == after(5)
    assert due(STUDY, [], 60) == after(60)


COUNTS = st.integers(0, 4)


@given(st.tuples(COUNTS, COUNTS, COUNTS), st.tuples(COUNTS, COUNTS, COUNTS), st.booleans())
def test_delivered_is_said_only_when_everything_received_is_confirmed(
    received: tuple[int, int, int], delivery: tuple[int, int, int], complete: bool
) -> None:
    validated, waiting, discarded = received
    handed, confirmed, failed = delivery
    study = replace(STUDY, validated=validated, waiting=waiting, discarded=discarded)
    share = replace(
        SHARE, state="delivering", handed=handed, confirmed=confirmed, failed=failed, complete=complete
    )
    if settled(study, share) is Fact.WHOLE:
        assert complete
        assert confirmed == validated
        assert waiting == discarded == 0
    if confirmed + failed < handed or handed < validated:
        assert settled(study, share) is None


def test_what_is_missing_is_said_with_its_reasons() -> None:
    study = replace(STUDY, validated=58, waiting=1, discarded=1)
    share = replace(SHARE, confirmed=57, failed=1)
    assert missing(study, share) == 3
    words = missing_words(study, share, ["bad check digit"], ["A900 mismatch", "A900 mismatch"])
    assert words == (
        "3 of 60 instances missing: 1 in quarantine (bad check digit), "
        "1 discarded from quarantine, 1 not accepted by RT3 (A900 mismatch)"
    )


def test_a_passage_has_ended_when_nothing_is_under_way() -> None:
    delivered = replace(SHARE, state="delivered")
    assert finished(STUDY, [delivered], NOW).settled_at == NOW
    assert finished(STUDY, [delivered, SHARE], NOW).settled_at is None
    assert finished(replace(STUDY, due_at=NOW), [delivered], NOW).settled_at is None
    assert finished(replace(STUDY, settled_at=NOW), [delivered], after(9)).settled_at == NOW


def test_only_a_study_that_nothing_addresses_expires() -> None:
    study = replace(STUDY, expires_at=after(5))
    assert finished(study, [], NOW).expires_at == after(5)
    assert finished(study, [SHARE], NOW).expires_at is None
