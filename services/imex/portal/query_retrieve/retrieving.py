"""What C-MOVE and C-GET have in common (PS3.4 C.4.2, C.4.3): what is meant, sub-operations, how it ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final, Protocol
from uuid import UUID

import structlog

from imex.db import UnitOfWork
from imex.dicom.rewriting import rewritable_to
from imex.dimse import Answer, DimseError, Exchange, Refused, Status, StoreResponse, SubOperations
from imex.dimse.statuses import is_stored, words
from imex.portal.archive import Broken
from imex.portal.context import Portal
from imex.portal.dicomweb import records
from imex.portal.dicomweb.search import view_for
from imex.portal.queries import holdings
from imex.portal.queries.holdings import Amount, HeldInstance, Narrow, View
from imex.portal.query_retrieve.identifiers import (
    DoesNotMatch,
    Retrieval,
    encode_failed,
    read_retrieval,
)
from imex.portal.query_retrieve.payloads import Ahead, DataSet
from imex.portal.query_retrieve.peer import Surroundings
from imex.portal.scope import Caller
from imex.storage import StoreError

log = structlog.get_logger(__name__)

PAGE: Final = 200
"""After so many images a retrieval asks again whether it may go on."""
_MOST_COUNTED: Final = 0xFFFF
"""The counts of sub-operations have two bytes."""


_Part = tuple[str, str, UUID | None]
"""Source, study UID, and the share by which images of it are sent."""


class NoMore(Exception):
    """Nothing more can be sent; in words."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for something, on which association, and by which service (in its word for the record)."""

    around: Surroundings
    caller: Caller
    exchange: Exchange
    part: str

    @property
    def portal(self) -> Portal:
        """What everything is read from."""
        return self.around.portal


class Carrier(Protocol):
    """Takes images to where they are wanted."""

    async def ready(self) -> None:
        """Be where they are wanted. Raises NoMore where that cannot be reached, or not any more."""

    def stores(self, sop_class: str, transfer_syntax: str) -> bool:
        """Whether there is a presentation context for it."""

    async def store(self, held: HeldInstance, transfer_syntax: str, data_set: DataSet) -> StoreResponse:
        """One C-STORE. Raises DimseError; where the association ended so, the next one may still go."""


@dataclass(frozen=True, slots=True)
class Meant:
    """What a retrieval is about, as counted when it began."""

    retrieval: Retrieval
    amounts: Sequence[Amount]
    contexts: Sequence[tuple[str, str]]

    @property
    def images(self) -> int:
        """In all."""
        return sum(one.images for one in self.amounts)


@dataclass
class Course:
    """How a retrieval goes."""

    total: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)
    sent: Counter[_Part] = field(default_factory=Counter)
    reason: str = ""
    """Why one failed, in words: of the first."""
    taken_back: int = 0
    """Images that were counted at the beginning, and may not be had any more."""

    @property
    def done(self) -> int:
        """Sub-operations that have ended."""
        return self.completed + self.warning + len(self.failed)

    @property
    def failures(self) -> int:
        """What was not sent."""
        return len(self.failed) + self.taken_back

    def fails(self, held: HeldInstance, why: str) -> None:
        """One could not be sent."""
        self.failed.append(held.sop_instance_uid)
        self.reason = self.reason or why

    def counts(self, *, remaining: bool) -> SubOperations:
        """As responses tell them."""
        left = max(self.total - self.done - self.taken_back, 0)
        return SubOperations(
            min(left, _MOST_COUNTED) if remaining else None,
            *(min(count, _MOST_COUNTED) for count in (self.completed, self.failures, self.warning)),
        )

    def status(self) -> int:
        """Of a retrieval that came to its end (PS3.4 tables C.4-2 and C.4-3)."""
        if self.failures and not self.completed and not self.warning:
            return Status.CANNOT_PERFORM_SUB_OPERATIONS
        return Status.SUB_OPERATIONS_FAILED if self.failures or self.warning else Status.SUCCESS


async def meant_by(asking: Asking) -> Meant:
    """What is asked for, as far as the caller may have it; kept and told before anything is sent.

    Raises:
        Refused: the identifier is not one of this model.
    """
    asked = asking.exchange.operation
    try:
        retrieval = await asyncio.to_thread(read_retrieval, asked.data_set, asked.transfer_syntax)
    except DoesNotMatch as error:
        raise Refused(Status.DATA_SET_DOES_NOT_MATCH, str(error)) from None
    async with asking.portal.database.unit() as unit:
        view = await view_for(unit, asking.caller)
        narrow = await _narrowed(unit, view, retrieval)
        amounts = await holdings.amounts(unit.connection, view, narrow)
        contexts = await holdings.contexts(unit.connection, view, narrow)
        if amounts:
            await records.retrieved(unit, asking.caller, amounts, "downloaded", asking.part)
        else:
            records.searched(unit, asking.caller, [], {}, asking.part)
    return Meant(retrieval, amounts, contexts)


async def carry_out(asking: Asking, meant: Meant, carrier: Carrier) -> Answer:
    """Send what is meant, image by image, and say how it went."""
    course = Course(meant.images)
    cancelled = False
    ahead = Ahead(asking.portal.payloads)
    try:
        async with aclosing(_pages(asking, meant.retrieval)) as pages:
            async for page in pages:
                for held, following in zip_longest(page, page[1:]):
                    if cancelled := asking.exchange.cancelled:
                        break
                    outcome = await _send(ahead, carrier, held, following, course)
                    asking.around.meters.image(asking.part, outcome)
                    await asking.exchange.pending(counts=course.counts(remaining=True))
                if cancelled:
                    break
        if not cancelled:
            course.taken_back = max(course.total - course.done, 0)
    except NoMore as error:
        course.reason = str(error)
        course.taken_back = max(course.total - course.done, 0)
    except BaseException as error:
        await _broken_off(asking, meant, course, _why(error))
        raise
    finally:
        await ahead.close()
    if cancelled or course.failures:
        await _broken_off(asking, meant, course, "cancelled" if cancelled else course.reason)
    if course.taken_back and not course.reason:
        course.reason = "no longer shared"
    return _ended(asking.exchange, course, cancelled=cancelled)


def _ended(exchange: Exchange, course: Course, *, cancelled: bool) -> Answer:
    failed = b""
    if course.failed:
        failed = encode_failed(course.failed, exchange.operation.transfer_syntax)
    if cancelled:
        return Answer(Status.CANCELLED, "", failed, course.counts(remaining=True))
    return Answer(course.status(), course.reason, failed, course.counts(remaining=False))


async def _send(
    ahead: Ahead, carrier: Carrier, held: HeldInstance, following: HeldInstance | None, course: Course
) -> str:
    """One sub-operation: `completed`, `warning` or `failed`; `following` is read meanwhile."""
    await carrier.ready()
    syntaxes = (held.transfer_syntax, *rewritable_to(held.transfer_syntax))
    syntax = next((one for one in syntaxes if carrier.stores(held.sop_class_uid, one)), None)
    if syntax is None:
        course.fails(held, "no presentation context for an image's class and syntax")
        return "failed"
    try:
        data_set = await ahead.opened(held, syntax)
        if following is not None and carrier.stores(following.sop_class_uid, following.transfer_syntax):
            ahead.begin(following)
        response = await carrier.store(held, syntax, data_set)
    except Broken as error:
        course.fails(held, str(error))
    except StoreError as error:
        log.warning("an image could not be read", error=type(error).__name__)
        course.fails(held, "the object store failed")
    except DimseError as error:
        course.fails(held, str(error))
    else:
        if response.status == Status.SUCCESS:
            course.completed += 1
            course.sent[_part(held)] += 1
            return "completed"
        if is_stored(response.status):
            course.warning += 1
            course.sent[_part(held)] += 1
            return "warning"
        course.fails(held, f"the node answered {words(response.status)}")
    return "failed"


def _part(of: Amount | HeldInstance) -> _Part:
    return (of.source, of.study_uid, of.share)


async def _pages(asking: Asking, retrieval: Retrieval) -> AsyncGenerator[list[HeldInstance], None]:
    """Page by page what the caller may have by then: what is taken back meanwhile goes no further."""
    after = ("", "")
    while True:
        async with asking.portal.database.unit() as unit:
            view = await view_for(unit, asking.caller)
            narrow = await _narrowed(unit, view, retrieval)
            page = await holdings.found_instances(unit.connection, view, narrow, limit=PAGE, after=after)
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = (page[-1].series_uid, page[-1].sop_instance_uid)


async def _narrowed(unit: UnitOfWork, view: View, retrieval: Retrieval) -> Narrow:
    about = [
        source
        for study_uid in retrieval.study_uids
        for source in await holdings.sources_of(unit.connection, view, study_uid)
    ]
    return Narrow(about, series_uids=retrieval.series_uids, sop_instance_uids=retrieval.sop_instance_uids)


async def _broken_off(asking: Asking, meant: Meant, course: Course, reason: str) -> None:
    """Keep it of each study that did not go as a whole, by each share that it was to go by."""
    wanted: Counter[_Part] = Counter()
    abouts: dict[_Part, Amount] = {}
    for one in meant.amounts:
        part = _part(one)
        wanted[part] += one.images
        abouts[part] = one
    async with asking.portal.database.unit() as unit:
        for part, images in wanted.items():
            if (sent := course.sent[part]) < images:
                about, how = abouts[part], asking.part
                records.broken_off(unit, asking.caller, about, "downloaded", how, images=sent, reason=reason)


def _why(error: BaseException) -> str:
    return str(error) if isinstance(error, DimseError) else "the association ended"
