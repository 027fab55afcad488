"""The Storage Commitment Push Model as an SCP: takes N-ACTIONs of one sender's association."""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

from imex.dicom import commitment
from imex.dicom.commitment import NoRequest, Request, TooMuch
from imex.dimse import Answer as Response
from imex.dimse import DimseError, Exchange, Status
from imex.dimse.command import CommandField
from imex.dimse.statuses import is_stored, words
from imex.portal.commitment.answering import Answer, Commitments, NotTold
from imex.portal.commitment.questions import Asker, Taken

_BYTES_OF_AN_INSTANCE: Final = 256
"""An item with two UIDs of 64 characters, and what stands around them."""
_ITEMS_OF_AN_INSTANCE: Final = 2
"""In the data set: its own, and what some senders put beside it."""
_NO_SUCH_ACTION: Final = 0x0123
_NO_SUCH_INSTANCE: Final = 0x0112
_INVALID_ARGUMENT: Final = 0x0115
_LOOK_S: Final = 0.25


class CommitmentService:
    """Serves `PUSH_MODEL` on an association (imex.dimse.Service)."""

    operations = frozenset({CommandField.N_ACTION_RQ})

    def __init__(self, commitments: Commitments, asker: Asker, same_association_s: float) -> None:
        """For `same_association_s` seconds an answer may go out on the association itself."""
        self._commitments = commitments
        self._asker = asker
        self._patience_s = same_association_s

    @property
    def most_bytes(self) -> int:
        """Of the data set of an N-ACTION."""
        return 4096 + self._commitments.bounds.instances * _BYTES_OF_AN_INSTANCE

    async def perform(self, exchange: Exchange) -> Response:
        """Keep the question, say so, and answer it if that can be done while the association is open."""
        operation = exchange.operation
        if operation.sop_instance_uid != commitment.PUSH_MODEL_INSTANCE:
            return Response(_NO_SUCH_INSTANCE, "not the well-known SOP instance")
        if operation.type_id != commitment.REQUEST:
            return Response(_NO_SUCH_ACTION, "not an action of storage commitment")
        most_items = self._commitments.bounds.instances * _ITEMS_OF_AN_INSTANCE
        try:
            request = await asyncio.to_thread(
                commitment.requested, operation.data_set, operation.transfer_syntax, most_items
            )
        except TooMuch:
            return await self._too_much("")
        except NoRequest as error:
            return Response(_INVALID_ARGUMENT, str(error))
        refusal, question = await self._take(request)
        if refusal is not None or question is None:
            return refusal or Response(Status.PROCESSING_FAILURE)
        await exchange.answer(Response())
        await self._answer_here(exchange, question)
        return Response()

    async def _take(self, request: Request) -> tuple[Response | None, UUID | None]:
        if len(request.references) > self._commitments.bounds.instances:
            return await self._too_much(request.transaction_uid), None
        patience = timedelta(seconds=self._patience_s)
        taken, question = await self._commitments.take(self._asker, request, patience=patience)
        match taken:
            case Taken.TOO_MANY:
                return Response(Status.RESOURCE_LIMITATION, "too many requests wait for an answer"), None
            case Taken.ANOTHER:
                return Response(_INVALID_ARGUMENT, "the Transaction UID was used for other instances"), None
            case Taken.NEW | Taken.AGAIN:
                return None, question

    async def _too_much(self, transaction_uid: str) -> Response:
        refusal = f"more than {self._commitments.bounds.instances} instances in one request"
        await self._commitments.refused(self._asker, transaction_uid, refusal)
        return Response(Status.RESOURCE_LIMITATION, refusal)

    async def _answer_here(self, exchange: Exchange, question: UUID) -> None:
        async def tell(answer: Answer) -> None:
            await report(exchange, answer)

        looks = 1  # between one look and the next the pause doubles
        left = round(self._patience_s / _LOOK_S)
        while not exchange.cancelled and not await self._commitments.answer_now(question, tell) and left > 0:
            pause = min(looks, left)
            for _ in range(pause):
                if not exchange.cancelled:  # the peer may want to release the association
                    await asyncio.sleep(_LOOK_S)
            left, looks = left - pause, looks * 2
        await self._commitments.hand_on(question)


async def report(exchange: Exchange, answer: Answer) -> None:
    """N-EVENT-REPORT on the association of the question.

    Raises:
        NotTold: it is gone, or the peer does not take it.
    """
    event = commitment.SOME_FAILED if answer.failed else commitment.ALL_COMMITTED
    dataset = commitment.report_dataset(answer.transaction_uid, answer.committed, answer.failed)
    data = await asyncio.to_thread(commitment.encoded, dataset, exchange.operation.transfer_syntax)
    try:
        status = await exchange.report(commitment.PUSH_MODEL, commitment.PUSH_MODEL_INSTANCE, event, data)
    except DimseError as error:
        raise NotTold(f"the association of the question: {error}") from error
    if not is_stored(status):
        raise NotTold(f"the report was answered with {words(status)}")
