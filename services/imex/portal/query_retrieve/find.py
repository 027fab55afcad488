"""C-FIND (PS3.4 C.4.1): studies, series and images that the caller may retrieve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from imex.db import UnitOfWork
from imex.dicomweb.elements import Json
from imex.dimse import Answer, Exchange, Refused, Status
from imex.dimse.command import CommandField
from imex.dimse.operations import MOST_BYTES
from imex.portal.dicomweb import records
from imex.portal.dicomweb.heads import SEARCH_BYTES, heads_of
from imex.portal.dicomweb.matching import Wanted, read
from imex.portal.dicomweb.search import first_of, instance_json, series_json, study_json, view_for
from imex.portal.problems import Problem
from imex.portal.queries import holdings
from imex.portal.queries.holdings import HeldInstance, HeldStudy, Narrow
from imex.portal.query_retrieve.identifiers import LEVELS, DoesNotMatch, Query, encode_match, read_query
from imex.portal.query_retrieve.peer import Surroundings, place_of, refused
from imex.portal.scope import Caller

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
MOST_STUDIES: Final = 500
MOST_SERIES: Final = 2000
MOST_IMAGES: Final = 20_000
"""Matches of one query; where there are more, the last response says so."""
_PAGE: Final = 200
_ALWAYS: Final = frozenset({"00080005", "00080052", "00080054", "00080056", "00081190", "0020000D"})
_OF_STUDY: Final = frozenset(
    {"00080020", "00080050", "00080061", "00081030", "00100010", "00100020", "00100021", "00100030"}
)
_KNOWN: Final = {
    "STUDY": _ALWAYS | _OF_STUDY | {"00201206", "00201208"},
    "SERIES": _ALWAYS | _OF_STUDY | {"00080060", "0020000E", "00201209"},
    "IMAGE": _ALWAYS | _OF_STUDY | {"00080016", "00080018", "00080060", "00083002", "0020000E"},
}
"""Tags that are told without reading an image."""

Matches = AsyncGenerator[Json, None]


class Finds:
    """Serves Study Root Query on one association (imex.dimse.Service)."""

    operations = frozenset({CommandField.C_FIND_RQ})
    most_bytes = MOST_BYTES

    def __init__(self, around: Surroundings, caller: Caller) -> None:
        """For one caller."""
        self._around = around
        self._caller = caller

    async def perform(self, exchange: Exchange) -> Answer:
        """Answer one query, match by match."""
        asked = exchange.operation
        try:
            query = await asyncio.to_thread(read_query, asked.data_set, asked.transfer_syntax)
            with self._around.searches.one(place_of(self._caller)):
                return await self._answer(exchange, query)
        except DoesNotMatch as error:
            raise Refused(Status.DATA_SET_DOES_NOT_MATCH, str(error)) from None
        except Problem as problem:
            raise refused(problem) from problem

    async def _answer(self, exchange: Exchange, query: Query) -> Answer:
        most = {"STUDY": MOST_STUDIES, "SERIES": MOST_SERIES, "IMAGE": MOST_IMAGES}[query.level]
        matches = self._matches(query, most)
        syntax = exchange.operation.transfer_syntax
        status = Status.PENDING_KEYS_UNSUPPORTED if query.ignored else Status.PENDING
        told = 0
        async with aclosing(matches):
            async for match in matches:
                if exchange.cancelled:
                    return Answer(Status.CANCELLED)
                if told == most:
                    return Answer(Status.OUT_OF_RESOURCES, f"only the first {most} matches: narrow the query")
                encoded = await asyncio.to_thread(encode_match, query, match, self._around.ae_title, syntax)
                await exchange.pending(encoded, status=status)
                told += 1
        return Answer()

    def _matches(self, query: Query, most: int) -> Matches:
        wanted = read(query.keys, LEVELS[query.level], most + 1)
        match query.level:
            case "STUDY":
                return self._studies(query, wanted)
            case "SERIES":
                return self._series(query, wanted)
            case _:
                return self._images(query, wanted)

    async def _studies(self, query: Query, wanted: Wanted) -> Matches:
        portal, caller = self._around.portal, self._caller
        async with portal.database.unit() as unit:
            view = await view_for(unit, caller)
            found = await holdings.found_studies(unit.connection, view, wanted, limit=wanted.limit)
            about = [(study.source, study.study_uid) for study in found]
            by = await holdings.shares_of(unit.connection, view, about)
            records.searched(unit, caller, about, by, "c-find")
        for start in range(0, len(found), _PAGE):
            page = found[start : start + _PAGE]
            firsts = await self._firsts(page) if _reads(query) else [None] * len(page)
            async with aclosing(self._told(firsts, query)) as heads:
                index = 0
                async for head in heads:
                    yield head | study_json(page[index], "")
                    index += 1

    async def _firsts(self, page: Sequence[HeldStudy]) -> list[HeldInstance | None]:
        async with self._around.portal.database.unit() as unit:
            view = await view_for(unit, self._caller)
            return [await first_of(unit, view, study) for study in page]

    async def _series(self, query: Query, wanted: Wanted) -> Matches:
        portal, caller = self._around.portal, self._caller
        async with portal.database.unit() as unit:
            view = await view_for(unit, caller)
            about = await self._about(unit, wanted)
            narrow = Narrow(list(about), wanted.series_uid, modality=wanted.modality)
            found = await holdings.found_series(unit.connection, view, narrow, limit=wanted.limit)
            _searched(unit, caller, [one.first for one in found])
        async with aclosing(self._told([one.first for one in found], query)) as heads:
            index = 0
            async for head in heads:
                one = found[index]
                index += 1
                yield head | series_json(one, "") | _of_study(about, one.first)

    async def _images(self, query: Query, wanted: Wanted) -> Matches:
        portal, caller = self._around.portal, self._caller
        after = ("", "")
        kept: set[tuple[str, str]] = set()
        while True:
            async with portal.database.unit() as unit:
                view = await view_for(unit, caller)
                about = await self._about(unit, wanted)
                narrow = Narrow(
                    list(about),
                    wanted.series_uid,
                    wanted.sop_instance_uid,
                    wanted.sop_class_uids,
                    wanted.modality,
                )
                page = await holdings.found_instances(unit.connection, view, narrow, limit=_PAGE, after=after)
                fresh = [one for one in page if (one.source, one.study_uid) not in kept]
                if fresh or not after[0]:
                    _searched(unit, caller, fresh)
                kept |= {(one.source, one.study_uid) for one in fresh}
            async with aclosing(self._told(page, query)) as heads:
                index = 0
                async for head in heads:
                    one = page[index]
                    index += 1
                    yield head | instance_json(one, "") | _of_study(about, one)
            if len(page) < _PAGE:
                return
            after = (page[-1].series_uid, page[-1].sop_instance_uid)

    async def _about(self, unit: UnitOfWork, wanted: Wanted) -> dict[tuple[str, str], HeldStudy]:
        view = await view_for(unit, self._caller)
        found = await holdings.found_studies(unit.connection, view, wanted, limit=MOST_STUDIES)
        about = {}
        for study in found:  # two institutions may have sent parts of it
            for source in await holdings.sources_of(unit.connection, view, study.study_uid):
                about[source] = study
        return about

    async def _told(self, found: Sequence[HeldInstance | None], query: Query) -> Matches:
        """What their heads tell, where more is asked for than is known without reading them."""
        if not _reads(query):
            for _ in found:
                yield {}
            return
        payloads = self._around.portal.payloads
        async with aclosing(heads_of(payloads, found, SEARCH_BYTES, query.returned)) as heads:
            async for head in heads:
                yield head


def _reads(query: Query) -> bool:
    return not _KNOWN[query.level].issuperset(query.returned)


def _of_study(about: dict[tuple[str, str], HeldStudy], one: HeldInstance) -> Json:
    held = about.get((one.source, one.study_uid))
    return study_json(held, "") if held is not None else {}


def _searched(unit: UnitOfWork, caller: Caller, found: Sequence[HeldInstance]) -> None:
    by = {(one.source, one.study_uid): one.share for one in found if one.share is not None}
    records.searched(unit, caller, {(one.source, one.study_uid) for one in found}, by, "c-find")
