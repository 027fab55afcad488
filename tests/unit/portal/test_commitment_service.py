"""What an N-ACTION is answered with, and when its answer goes out on the same association."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from imex.dicom import commitment
from imex.dicom.commitment import FailureReason, Reference, Request
from imex.dimse import Answer as Response
from imex.dimse import AssociationReleased, Operation
from imex.dimse.command import CommandField
from imex.portal.commitment.answering import Answer, NotTold
from imex.portal.commitment.questions import Asker, Taken
from imex.portal.commitment.service import CommitmentService
from imex.portal.commitment.settings import CommitmentSettings

CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAX = commitment.EXPLICIT_LITTLE_ENDIAN
ASKER = Asker("RQM", "RQM_PACS", "IMEX")
EMPTY_ITEMS = b"\x08\x00\x99\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * 160_000


class Kept:
    """Takes every question, and tells it at the look that it is told to."""

    bounds = CommitmentSettings(instances=3).bounds

    def __init__(self, taken: Taken = Taken.NEW, at_look: int = 1) -> None:
        self.taken = taken
        self.at_look = at_look
        self.asked: list[Request] = []
        self.refusals: list[str] = []
        self.looks = 0
        self.handed_on = 0
        self.untold = ""

    async def take(self, asker: Asker, request: Request, *, patience: timedelta) -> tuple[Taken, UUID]:
        assert asker == ASKER
        self.asked.append(request)
        return self.taken, uuid4()

    async def refused(self, asker: Asker, transaction_uid: str, words: str) -> None:
        self.refusals.append(words)

    async def answer_now(self, question: UUID, tell: Any) -> bool:
        self.looks += 1
        if self.looks < self.at_look:
            return False
        [request] = self.asked
        failed = tuple((one, FailureReason.NO_SUCH_OBJECT_INSTANCE) for one in request.references[1:])
        try:
            await tell(Answer(request.transaction_uid, request.references[:1], failed))
        except NotTold as error:
            self.untold = str(error)
            return False
        return True

    async def hand_on(self, question: UUID) -> None:
        self.handed_on += 1


class Asking:
    """An N-ACTION under way (imex.dimse.Exchange)."""

    def __init__(self, data: bytes, status: int = 0, **changes: Any) -> None:
        self.operation = Operation(
            **{
                "field": CommandField.N_ACTION_RQ,
                "message_id": 1,
                "sop_class_uid": commitment.PUSH_MODEL,
                "transfer_syntax": SYNTAX,
                "data_set": data,
                "sop_instance_uid": commitment.PUSH_MODEL_INSTANCE,
                "type_id": commitment.REQUEST,
                **changes,
            }
        )
        self.cancelled = False
        self.status = status
        self.answers: list[Response] = []
        self.reports: list[tuple[int, commitment.Report]] = []
        self.released = False

    async def answer(self, answer: Response) -> None:
        self.answers.append(answer)

    async def report(self, sop_class: str, sop_instance: str, event_type: int, data_set: bytes) -> int:
        assert (sop_class, sop_instance) == (commitment.PUSH_MODEL, commitment.PUSH_MODEL_INSTANCE)
        assert self.answers, "the question is answered before it is reported on"
        if self.released:
            raise AssociationReleased("released instead of answered")
        report = commitment.report_of(commitment.decoded(data_set, SYNTAX))
        assert report is not None
        self.reports.append((event_type, report))
        return self.status


def question(number: int = 1) -> bytes:
    references = [Reference(CT, f"1.2.{one}") for one in range(1, number + 1)]
    return commitment.encoded(commitment.request_dataset("2.25.1", references), SYNTAX)


def service(kept: Kept, seconds: float = 1.0) -> CommitmentService:
    return CommitmentService(kept, ASKER, seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "event"), [(1, commitment.ALL_COMMITTED), (2, commitment.SOME_FAILED)])
async def test_a_question_is_kept_answered_and_reported_on(number: int, event: int) -> None:
    kept, asking = Kept(), Asking(question(number))
    await service(kept).perform(asking)  # type: ignore[arg-type]
    assert [one.status for one in asking.answers] == [0x0000]
    [(told, report)] = asking.reports
    assert told == event
    assert report.committed == ("1.2.1",)
    assert report.refused == ({} if number == 1 else {"1.2.2": 0x0112})


@pytest.mark.parametrize(
    ("asking", "status"),
    [
        (Asking(question(), sop_instance_uid="1.2.3"), 0x0112),
        (Asking(question(), type_id=2), 0x0123),
        (Asking(question(), type_id=None), 0x0123),
        (Asking(b""), 0x0115),
        (Asking(b"\xff" * 40), 0x0115),
        (Asking(question(4)), 0x0213),
        (Asking(EMPTY_ITEMS), 0x0213),
    ],
)
async def test_what_cannot_be_taken_is_refused_and_not_kept(asking: Asking, status: int) -> None:
    kept = Kept()
    answer = await service(kept).perform(asking)  # type: ignore[arg-type]
    assert answer.status == status
    assert answer.comment
    assert (asking.answers, asking.reports, kept.asked) == ([], [], [])
    assert bool(kept.refusals) == (status == 0x0213)


@pytest.mark.parametrize(("taken", "status"), [(Taken.TOO_MANY, 0x0213), (Taken.ANOTHER, 0x0115)])
async def test_a_question_that_is_not_taken_is_not_promised_an_answer(taken: Taken, status: int) -> None:
    kept, asking = Kept(taken), Asking(question())
    assert (await service(kept).perform(asking)).status == status  # type: ignore[arg-type]
    assert (asking.answers, kept.looks) == ([], 0)


async def test_what_is_not_decided_in_time_is_left_to_others() -> None:
    kept, asking = Kept(at_look=100), Asking(question())
    await service(kept, 0.5).perform(asking)  # type: ignore[arg-type]
    assert asking.reports == []
    assert 1 <= kept.looks <= 3
    assert kept.handed_on == 1


async def test_who_wants_to_release_the_association_is_not_kept() -> None:
    kept, asking = Kept(at_look=100), Asking(question())
    asking.cancelled = True
    await service(kept, 600.0).perform(asking)  # type: ignore[arg-type]
    assert (kept.looks, kept.handed_on) == (0, 1)


@pytest.mark.parametrize("gone", [True, False])
async def test_a_report_that_is_not_taken_was_not_told(gone: bool) -> None:
    kept, asking = Kept(), Asking(question(), status=0x0110)
    asking.released = gone
    await service(kept, 0.0).perform(asking)  # type: ignore[arg-type]
    assert ("released" if gone else "0110 processing failure") in kept.untold
    assert kept.handed_on == 1
