"""Whom a correction concerns: nobody who may have something is left out."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.events.deliveries import (
    DeliveryAttempted,
    DeliveryAttemptedData,
    DeliveryCompleted,
    DeliveryCompletedData,
    DeliveryEnded,
    DeliveryEndedData,
)
from imex.events.sealed import Sealed
from imex.hl7.adt import CannotWrite
from imex.routing.corrections.decide import concern, goes_with_share, is_whole
from imex.routing.corrections.messages import write
from imex.routing.corrections.outcomes import said
from imex.routing.states import STATES
from imex.sharing.model import Share, Study

AT = datetime(2026, 3, 2, tzinfo=UTC)
SHARE = Share(
    id=uuid4(), source="RQM", study_uid="1.2.3", recipient="RT3", purpose="direct-care", episode=1,
    passage=1, priority="routine", origin="rule", directory_version="v", created_at=AT, updated_at=AT,
)  # fmt: skip
shares = st.builds(
    lambda state, parts, gone: replace(SHARE, state=state, parts=parts, disposed_at=AT if gone else None),
    st.sampled_from(STATES),
    st.integers(0, 3),
    st.booleans(),
)


@given(shares, st.booleans(), st.booleans())
def test_whoever_was_handed_something_gets_a_note_or_is_told(share: Share, inbox: bool, note: bool) -> None:
    found = concern(share, "recall", inbox=inbox, note=note)
    if share.parts:
        assert found == ("due" if note and not inbox else "told")
    else:
        assert found in {None, "stopped"}


@given(shares, st.booleans(), st.sampled_from(["demographics", "merge"]))
def test_what_is_right_of_a_person_is_told_where_something_was_handed_over(
    share: Share, inbox: bool, kind: Any
) -> None:
    assert concern(share, kind, inbox=inbox, note=False) == ("told" if share.parts else None)


@given(shares, st.booleans())
def test_a_note_goes_with_no_share_that_has_ended(share: Share, sent_by_source: bool) -> None:
    assert not goes_with_share(share, sent_by_source=sent_by_source) or (share.live and sent_by_source)


@pytest.mark.parametrize(
    ("recalled", "accepted", "whole"),
    [({"1", "2"}, {"1", "2"}, True), ({"1", "2"}, {"1", "2", "n"}, True), ({"1"}, {"1", "2", "n"}, False)],
)
def test_the_note_itself_is_none_of_the_study(recalled: set[str], accepted: set[str], whole: bool) -> None:
    assert is_whole(recalled, accepted, "n") is whole


def test_what_delivery_says_of_a_note() -> None:
    about: dict[str, Any] = {
        "source": "RQM", "study_uid": "1.2.3", "delivery": uuid4(), "share": uuid4(), "recipient": "RT3",
        "endpoint": "pacs", "lane": "bulk",
    }  # fmt: skip
    ended = DeliveryEndedData(**about, outcome="expired", confirmed=0, reason="14 days")
    tried = DeliveryAttemptedData(
        **about, attempt=1, outcome="failed", reason="refused", started_at=AT, ended_at=AT, confirmed=0
    )
    done = DeliveryCompletedData(**about, revision=1, confirmed=1, failed=0, receipt_digest="d")
    none = done.model_copy(update={"confirmed": 0})
    assert said(DeliveryEnded.of(id=uuid4(), subject="x", data=ended)) == ("unreached", "14 days")
    assert said(DeliveryAttempted.of(id=uuid4(), subject="x", data=tried)) == ("notifying", "refused")
    assert said(DeliveryCompleted.of(id=uuid4(), subject="x", data=done)) == ("notified", "")
    assert said(DeliveryCompleted.of(id=uuid4(), subject="x", data=none)) == (None, "")


OWN, OTHER, THIRD = ({"patient_id": f"H-{number}", "issuer": "RQM"} for number in range(3))


@pytest.mark.parametrize("kind", ["merge", "demographics"])
@pytest.mark.parametrize(
    ("wrong", "right", "written"),
    [
        (OWN, OTHER, True),
        ({}, OTHER, True),
        (OTHER, OWN, True),
        (OTHER, THIRD, False),
        (OTHER, OWN | {"issuer": "RT3"}, False),
    ],
)
def test_a_message_is_about_the_person_that_the_study_names(
    kind: Any, wrong: dict[str, str], right: dict[str, str], written: bool
) -> None:
    """Systems that obey would merge or rename the records of others."""
    study = Study("RQM", "1.2.3", "bulk", "t", 0, AT, AT, AT, patient_id="H-0", issuer="RQM")
    sealed = Sealed(key_id="k", nonce="", ciphertext="").model_dump()
    asked = (UUID(int=1), kind, sealed, study, UUID(int=2), AT)
    facts = {"wrong": wrong, "right": right}
    if written:
        assert b"ADT^A" in write(*asked, lambda *_: facts).file
    else:
        with pytest.raises(CannotWrite, match="neither record"):
            write(*asked, lambda *_: facts)
