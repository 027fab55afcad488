"""Of which bytes a commitment speaks: others under the UID, by whomever, and those that nobody has judged."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from tests.integration.commitment_world import CT, EVERYTHING, Asking, uids
from tests.integration.test_sender_commitments import SENDER, made, told, transaction

from imex.dicom.commitment import Reference, Request
from imex.events import Sealed
from imex.events.instances import (
    AssociationEnded,
    AssociationEndedData,
    InstanceReceived,
    InstanceReceivedData,
)
from imex.portal.commitment.answering import Answer, NotTold
from imex.runtime.message import RawRecord
from imex.validation.unjudged import mark_unjudged

OTHER = "sha256:" + "e" * 64


@pytest.fixture
async def asking(migrated_database_url: str) -> AsyncIterator[Asking]:
    async with made(migrated_database_url) as one:
        yield one


async def test_other_data_that_the_archive_got_in_another_study_counts_too(asking: Asking) -> None:
    written = await asking.study(3)
    [same, given, other] = written.references
    theirs = await asking.portal.study(source="RXX")
    share = await asking.portal.share(theirs, source="RXX")
    job = await asking.portal.delivery(share, theirs, source="RXX", state="ended")
    await asking.handed(job, same, OTHER)
    elsewhere = Reference(CT, "2.25.101")  # it left under a UID that was given to it
    await asking.handed(job, elsewhere, OTHER, sent_uid=given.sop_instance_uid, delivered_digest=OTHER)
    await asking.handed(job, other, OTHER, sent_uid="2.25.100", delivered_digest=OTHER)
    report = await told(asking, written)
    assert report.committed == (other.sop_instance_uid,)
    assert report.refused == {same.sop_instance_uid: 0x0110, given.sop_instance_uid: 0x0110}


@pytest.mark.parametrize("reported", [True, False])
async def test_what_came_in_before_it_is_asked_again_is_read_first(asking: Asking, reported: bool) -> None:
    written = await asking.study(1)
    request = Request(transaction(), tuple(written.references))
    heard: list[Answer] = []

    async def asked(reachable: bool = True) -> bool:
        async def tell(answer: Answer) -> None:
            if not reachable:
                raise NotTold("nobody listens")
            heard.append(answer)

        _, question = await asking.commitments.take(SENDER, request, patience=timedelta())
        return await asking.commitments.answer_now(question, tell)

    assert await asked(reachable=reported) is reported
    heard.clear()
    asking.judged_through = datetime.now(UTC)  # what comes now has not been read when it is asked again
    assert not await asked()
    assert heard == []
    asking.judged_through = EVERYTHING
    assert await asked()
    assert uids(heard[0].committed) == uids(written.references)


def received(study_uid: str, uid: str) -> InstanceReceived:
    """Other bytes under a UID."""
    event = uuid4()
    return InstanceReceived.of(
        id=event,
        subject=f"RQM/{study_uid}",
        data=InstanceReceivedData(
            source="RQM",
            study_uid=study_uid,
            series_uid=f"{study_uid}.1",
            sop_instance_uid=uid,
            sop_class_uid=CT,
            transfer_syntax="1.2.840.10008.1.2.1",
            object_key=f"RQM/2026-03-05/{event}",
            size=4711,
            digest=OTHER,
            lane="bulk",
            association=UUID(int=1),
            received_at=datetime.now(UTC),
            directory_version="v",
            identity=Sealed(key_id="k", nonce="", ciphertext=""),
            dataset_sop_instance_uid=uid,
            dataset_study_uid=study_uid,
        ),
    )


async def bury(asking: Asking, value: bytes, key: str, event_id: UUID) -> None:
    """A record becomes a dead letter of validation."""
    raw = RawRecord("instances.bulk", 0, 7, 0, key.encode(), value, (("ce_id", str(event_id).encode()),))
    async with asking.portal.database.unit() as unit:
        await mark_unjudged(raw, "out of luck", unit)


async def verdicts(asking: Asking, references: list[Reference]) -> set[str] | None:
    """What is committed; None while nothing is said."""
    heard: list[Answer] = []

    async def tell(answer: Answer) -> None:
        heard.append(answer)

    request = Request(transaction(), tuple(references))
    _, question = await asking.commitments.take(SENDER, request, patience=timedelta())
    if not await asking.commitments.answer_now(question, tell):
        return None
    return uids(heard[0].committed)


@pytest.mark.parametrize("readable", [True, False])
async def test_a_dead_letter_of_validation_is_not_taken_for_read(asking: Asking, readable: bool) -> None:
    written = await asking.study(2)
    [newer, other] = written.references
    event = received("2.25.99", newer.sop_instance_uid)  # under another study, of all things
    value = event.encode() if readable else b"of a version to come"
    await bury(asking, value, event.key, event.id)
    await bury(asking, value, event.key, event.id)  # once more is no harm
    assert await verdicts(asking, [newer]) is None
    assert await verdicts(asking, [other]) == ({other.sop_instance_uid} if readable else None)
    # it is put back, and judged to be the same after all
    await asking.judged(
        written.study_uid,
        newer.sop_instance_uid,
        written.digests[0],
        event_id=event.id,
        judgement="duplicated",
    )
    assert await verdicts(asking, written.references) == uids(written.references)


async def test_a_dead_letter_that_brought_nothing_keeps_nobody_waiting(asking: Asking) -> None:
    written = await asking.study(1)
    ended = AssociationEnded.of(
        id=uuid4(),
        subject=f"RQM/{written.study_uid}",
        data=AssociationEndedData(
            source="RQM",
            study_uid=written.study_uid,
            association=UUID(int=1),
            lane="bulk",
            outcome="released",
            received=1,
            refused=0,
            started_at=datetime.now(UTC),
            ended_at=datetime.now(UTC),
        ),
    )
    await bury(asking, ended.encode(), ended.key, ended.id)
    await bury(asking, received("2.25.99", "2.25.98").encode(), "no key of ours", uuid4())
    assert await verdicts(asking, written.references) == uids(written.references)
