"""A sender is told yes only for what an archive has itself committed; nothing less suffices."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.dicom.commitment import FailureReason, Reference
from imex.portal.commitment.decide import (
    COMMITTED,
    Copy,
    Known,
    Passed,
    Verdict,
    decide,
    downgraded,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
ASKED = Reference(CT, "1.2.3.4")
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
VOUCHED = Passed(
    digest=DIGEST,
    sop_class_uid=CT,
    confirmed=True,
    receipt_commits=True,
    changed=False,
    revoked=False,
    rivalled=False,
)
HELD = Known(
    copies=(Copy(DIGEST, "accepted"),),
    sop_classes=frozenset({CT}),
    passed=(VOUCHED,),
    recalled=False,
    stuck=False,
    under_way=False,
)


def verdict(known: Known | None, *, read: bool = True, over: bool = False) -> Verdict:
    return decide(ASKED, known, read=read, over=over)


def test_what_an_archive_has_committed_is_committed() -> None:
    assert verdict(HELD) == COMMITTED
    assert verdict(replace(HELD, under_way=True)) == COMMITTED  # other recipients may still be waiting
    assert verdict(replace(HELD, copies=(Copy(DIGEST, "duplicated"), Copy(DIGEST, "accepted")))) == COMMITTED


@pytest.mark.parametrize(
    ("known", "reason", "words"),
    [
        (None, FailureReason.NO_SUCH_OBJECT_INSTANCE, "it was not received from you"),
        (
            replace(HELD, sop_classes=frozenset({MR})),
            FailureReason.CLASS_INSTANCE_CONFLICT,
            "it was received under another SOP class",
        ),
        (replace(HELD, recalled=True), FailureReason.PROCESSING_FAILURE, "it was recalled"),
        (
            replace(HELD, copies=(Copy(OTHER, "released"), Copy(DIGEST, "accepted"))),
            FailureReason.PROCESSING_FAILURE,
            "several versions of it were received",
        ),
        (
            replace(HELD, copies=(Copy(OTHER, "discarded"), Copy(DIGEST, "accepted"))),
            FailureReason.NO_SUCH_OBJECT_INSTANCE,
            "what you sent last was discarded",
        ),
        (
            replace(HELD, passed=(replace(VOUCHED, receipt_commits=False),)),
            FailureReason.PROCESSING_FAILURE,
            "no archive that received it has committed it",
        ),
        (
            replace(HELD, passed=(replace(VOUCHED, changed=True),)),
            FailureReason.PROCESSING_FAILURE,
            "what an archive committed was changed on the way",
        ),
        (
            replace(HELD, passed=(replace(VOUCHED, revoked=True),)),
            FailureReason.PROCESSING_FAILURE,
            "the share with the archive that committed it was revoked",
        ),
        (
            replace(HELD, passed=(replace(VOUCHED, rivalled=True),)),
            FailureReason.PROCESSING_FAILURE,
            "the archive that committed it was sent other data under the same UID too",
        ),
        (
            replace(HELD, passed=(replace(VOUCHED, confirmed=False),)),
            FailureReason.PROCESSING_FAILURE,
            "no archive has it yet",
        ),
        (replace(HELD, passed=()), FailureReason.PROCESSING_FAILURE, "it was not handed to any archive"),
    ],
)
def test_everything_else_is_no_and_says_why(known: Known | None, reason: FailureReason, words: str) -> None:
    assert verdict(known) == Verdict(reason=reason, words=words)


@pytest.mark.parametrize(
    ("known", "read", "words"),
    [
        (None, False, "it was not received from you"),
        (HELD, False, "what came in before the question is still being read"),
        (replace(HELD, stuck=True), True, "a record of its study could not be handled"),
        (
            replace(HELD, copies=(Copy(OTHER, "quarantined"), Copy(DIGEST, "accepted"))),
            True,
            "it waits in quarantine",
        ),
        (replace(HELD, passed=(), under_way=True), True, "it was not handed to any archive"),
    ],
)
def test_what_may_still_come_is_waited_for_until_it_is_time_to_answer(
    known: Known | None, read: bool, words: str
) -> None:
    waiting = verdict(known, read=read)
    assert waiting.pending
    assert waiting.words == words
    last = verdict(known, read=read, over=True)
    assert not last.pending
    assert not last.committed
    assert last.words == words


def test_an_archive_is_enough_whatever_others_did_with_it() -> None:
    others = (replace(VOUCHED, changed=True), VOUCHED, replace(VOUCHED, receipt_commits=False))
    assert verdict(replace(HELD, passed=others)) == COMMITTED


def test_a_yes_is_taken_back_before_it_is_told_and_a_no_stays() -> None:
    no = Verdict(reason=FailureReason.PROCESSING_FAILURE, words="no archive has it yet")
    recalled = Verdict(reason=FailureReason.PROCESSING_FAILURE, words="it was recalled")
    unsure = Verdict(words="it waits in quarantine")
    assert downgraded([COMMITTED, no, COMMITTED], [recalled, COMMITTED, unsure]) == [
        recalled,
        no,
        Verdict(reason=FailureReason.PROCESSING_FAILURE, words="it waits in quarantine"),
    ]


digests = st.sampled_from([DIGEST, OTHER])
classes = st.sampled_from([CT, MR])
judgements = st.sampled_from(
    ["accepted", "quarantined", "refused", "duplicated", "released", "discarded", "something new"]
)
passages = st.builds(
    Passed,
    digest=digests,
    sop_class_uid=classes,
    confirmed=st.booleans(),
    receipt_commits=st.booleans(),
    changed=st.booleans(),
    revoked=st.booleans(),
    rivalled=st.booleans(),
)
everything_known = st.none() | st.builds(
    Known,
    copies=st.lists(st.builds(Copy, digest=digests, judgement=judgements), max_size=3),
    sop_classes=st.frozensets(classes),
    passed=st.lists(passages, max_size=3),
    recalled=st.booleans(),
    stuck=st.booleans(),
    under_way=st.booleans(),
)


@given(everything_known, st.booleans(), st.booleans())
def test_never_yes_on_less(known: Known | None, read: bool, over: bool) -> None:
    if not decide(ASKED, known, read=read, over=over).committed:
        return
    assert read
    assert known is not None
    assert not known.recalled
    assert not known.stuck
    last = known.copies[0]
    assert last.judgement in {"accepted", "released", "duplicated"}
    assert any(
        one.digest == last.digest
        and one.sop_class_uid == CT
        and one.confirmed
        and one.receipt_commits
        and not one.changed
        and not one.revoked
        and not one.rivalled
        for one in known.passed
    )
    left = {"accepted", "released", "duplicated"}
    assert {copy.digest for copy in known.copies if copy.judgement in left} == {last.digest}


@given(everything_known, st.booleans())
def test_when_it_is_time_everything_is_answered(known: Known | None, read: bool) -> None:
    assert not decide(ASKED, known, read=read, over=True).pending


@given(everything_known, everything_known, st.booleans(), st.booleans())
def test_what_is_told_is_yes_only_where_both_looks_say_so(
    before: Known | None, now: Known | None, read: bool, over: bool
) -> None:
    first = decide(ASKED, before, read=True, over=True)
    second = decide(ASKED, now, read=read, over=over)
    [told] = downgraded([first], [second])
    assert told.committed == (first.committed and second.committed)
    assert not told.pending
