"""Requests that are about a person who asks what is known of them, or to be erased."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import RowMapping, select, text, update

from imex.db import UnitOfWork
from imex.db.subjects import Finding
from imex.db.tables import routing as tables
from imex.events import Sealed
from imex.events.sealed import seal_context
from imex.routing import granting
from imex.routing.surroundings import Surroundings
from imex.routing.wanted import OpenWanted
from imex.sharing.model import StudyKey
from imex.sharing.persons import Person, person

_ACCESSIONS = text(
    "SELECT t.source, t.accession FROM routing.studies t"
    " JOIN unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, study_uid)"
    " ON t.source = k.source AND t.study_uid = k.study_uid WHERE t.accession <> ''"
)


async def requests_of(
    unit: UnitOfWork,
    whose: Person | None,
    keys: Collection[StudyKey],
    open_wanted: OpenWanted,
    around: Surroundings,
    *,
    erase: bool,
) -> Finding:
    """Those that still say who is meant; with `erase` they end, and nothing more is fetched for them.

    To be asked before the studies forget their accession numbers.
    """
    pairs = {"sources": [key[0] for key in keys], "uids": [key[1] for key in keys]}
    accessions = {(row.source, row.accession) for row in await unit.connection.execute(_ACCESSIONS, pairs)}
    r = tables.requests
    waiting = await unit.connection.execute(
        select(r).where(r.c.wanted.is_not(None)).order_by(r.c.id).with_for_update()
    )
    found = [row for row in waiting.mappings() if _is_about(row, whose, set(keys), accessions, open_wanted)]
    if erase:
        for row in found:
            granting.withdraw(unit, row, "who is meant has asked to be erased", around.clock())
        await _end([row["id"] for row in found], unit, around)
    return Finding("routing.requests", len(found), len(found) if erase else 0)


async def _end(requests: Collection[UUID], unit: UnitOfWork, around: Surroundings) -> None:
    """What is open ends as if nobody had decided about it: who asked learns nothing of the person."""
    r = tables.requests.c
    await unit.connection.execute(
        update(tables.requests)
        .where(r.id.in_(requests), r.state == "open")
        .values(state="expired", answer="nobody has decided about it", decided_at=around.clock())
    )
    await unit.connection.execute(update(tables.requests).where(r.id.in_(requests)).values(wanted=None))


def _is_about(
    row: RowMapping,
    whose: Person | None,
    keys: Collection[StudyKey],
    accessions: Collection[tuple[str, str]],
    open_wanted: OpenWanted,
) -> bool:
    wanted = open_wanted(Sealed.model_validate(row["wanted"]), seal_context("request", row["id"]))
    holder = row["holder"]
    if wanted.study_uid:
        return (holder, wanted.study_uid) in keys
    if wanted.accession:
        return (holder, wanted.accession) in accessions
    return whose is not None and person(holder, wanted.issuer, wanted.patient_id) == whose
