"""Routing's statements on studies, instances and associations, set-based: one round trip for a batch."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Table,
    TextClause,
    Update,
    bindparam,
    exists,
    func,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from imex.db.bulk import insert_rows
from imex.db.tables import routing as tables
from imex.events.instances import InstanceFacts
from imex.events.manifests import HeldInstance, ManifestInstance
from imex.routing import carrying
from imex.sharing.model import Share, Study, StudyKey

PART_INSTANCES = 200
"""Instances in one part of a manifest: some 80 KB of event."""

_STUDY_FIELDS = tuple(field.name for field in fields(Study))
_STUDY_SETS = frozenset(
    {"modalities", "sop_classes", "body_parts", "recipients", "series_descriptions", "referenced"}
)
_SHARE_FIELDS = tuple(field.name for field in fields(Share))
_SHARE_LISTS = ("controllers", "processors", "reached")
_INSTANCE_COLUMNS = (
    "source", "sop_instance_uid", "study_uid", "series_uid", "sop_class_uid", "transfer_syntax", "modality",
    "object_key", "size", "digest", "directory_version", "received_at",
)  # fmt: skip

_LOCK_STUDIES = text(
    "SELECT s.* FROM routing.studies s"
    " JOIN unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, study_uid)"
    " ON s.source = k.source AND s.study_uid = k.study_uid"
    " ORDER BY s.source, s.study_uid FOR UPDATE OF s"
)
_STUDIES = text(
    "SELECT s.* FROM routing.studies s"
    " JOIN unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, study_uid)"
    " ON s.source = k.source AND s.study_uid = k.study_uid ORDER BY s.source, s.study_uid"
)
_LOCK_FREE_STUDY = text(
    "SELECT * FROM routing.studies WHERE source = :source AND study_uid = :study_uid FOR UPDATE SKIP LOCKED"
)
_SHARES = text(
    "SELECT s.* FROM routing.shares s"
    " JOIN unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, study_uid)"
    " ON s.source = k.source AND s.study_uid = k.study_uid ORDER BY s.created_at, s.id"
)
_HEARD = text(
    "INSERT INTO routing.associations AS a (source, study_uid, association, seen_at, heard)"
    " SELECT * FROM unnest(CAST(:source AS text[]), CAST(:study_uid AS text[]),"
    " CAST(:association AS uuid[]), CAST(:seen_at AS timestamptz[]), CAST(:heard AS int[]))"
    " ON CONFLICT (source, study_uid, association) DO UPDATE SET heard = a.heard + excluded.heard"
    " RETURNING source, study_uid, association, xmax = 0 AS new"
)
_ENDED = text(
    "INSERT INTO routing.associations AS a (source, study_uid, association, seen_at, ended_at, received)"
    " SELECT * FROM unnest(CAST(:source AS text[]), CAST(:study_uid AS text[]),"
    " CAST(:association AS uuid[]), CAST(:seen_at AS timestamptz[]), CAST(:ended_at AS timestamptz[]),"
    " CAST(:received AS int[]))"
    " ON CONFLICT (source, study_uid, association)"
    " DO UPDATE SET ended_at = excluded.ended_at, received = excluded.received"
)
_LOST = text(
    "SELECT a.source, a.study_uid, sum(greatest(a.received - a.heard, 0)) AS lost FROM routing.associations a"
    " JOIN unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, study_uid)"
    " ON a.source = k.source AND a.study_uid = k.study_uid GROUP BY a.source, a.study_uid"
)
_SERIES = text(
    "SELECT max(i.modality) AS modality, coalesce(max(s.body_part), '') AS body_part,"
    " coalesce(max(s.description), '') AS description, count(*) AS instances FROM routing.instances i"
    " LEFT JOIN routing.series s ON s.source = i.source AND s.study_uid = i.study_uid"
    " AND s.series_uid = i.series_uid WHERE i.source = :source AND i.study_uid = :study_uid"
    " GROUP BY i.series_uid"
)
_HAND_OVER = text(
    "WITH fresh AS (SELECT i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax,"  # noqa: S608 - a constant
    "  i.object_key, i.size,"
    "  i.digest, (row_number() OVER (ORDER BY i.series_uid, i.received_at, i.sop_instance_uid) - 1)"
    "  / :part_size + :first_part AS part"
    " FROM routing.instances i WHERE i.source = :source AND i.study_uid = :study_uid AND NOT i.disputed"
    f" AND NOT {carrying.LEFT_OUT}"
    " AND NOT EXISTS (SELECT 1 FROM routing.share_instances h"
    "  WHERE h.share = :share AND h.sop_instance_uid = i.sop_instance_uid)),"
    " put AS (INSERT INTO routing.share_instances (share, sop_instance_uid, digest, size, part, state)"
    " SELECT :share, sop_instance_uid, digest, size, part, 'waiting' FROM fresh)"
    " SELECT * FROM fresh ORDER BY part, sop_instance_uid"
)
_OUTCOMES = text(
    "WITH said AS (SELECT * FROM unnest(CAST(:shares AS uuid[]), CAST(:uids AS text[]),"
    " CAST(:digests AS text[]), CAST(:states AS text[]), CAST(:reasons AS text[]),"
    " CAST(:ats AS timestamptz[])) AS t(share, uid, digest, state, reason, at)),"
    " known AS (SELECT s.*, h.state AS was FROM said s JOIN routing.share_instances h"
    " ON h.share = s.share AND h.sop_instance_uid = s.uid AND h.digest = s.digest"
    " WHERE h.state <> 'confirmed')"
    " UPDATE routing.share_instances h SET state = k.state, reason = k.reason,"
    " confirmed_at = CASE WHEN k.state = 'confirmed' THEN k.at END FROM known k"
    " WHERE h.share = k.share AND h.sop_instance_uid = k.uid"
    " RETURNING h.share, k.was, h.state, h.confirmed_at"
)


_DECIDE_HELD = text(
    "UPDATE routing.held SET state = :state, decided_at = :at"
    " WHERE quarantine = ANY(CAST(:entries AS uuid[])) AND state = 'waiting' RETURNING quarantine"
)


_DISPUTE = text(
    "UPDATE routing.instances i SET disputed = true"
    " FROM unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, uid)"
    " WHERE i.source = k.source AND i.sop_instance_uid = k.uid"
)
_UNDISPUTE = text(
    "UPDATE routing.instances i SET disputed = false"
    " FROM routing.held q WHERE q.quarantine = ANY(CAST(:entries AS uuid[])) AND q.disputes"
    " AND i.source = q.source AND i.sop_instance_uid = q.sop_instance_uid AND i.disputed AND NOT i.recalled"
    " AND NOT EXISTS (SELECT 1 FROM routing.held o WHERE o.source = i.source AND o.study_uid = q.study_uid"
    "  AND o.sop_instance_uid = i.sop_instance_uid AND o.state = 'waiting' AND o.disputes)"
)
_DISPUTED = text(
    "SELECT k.source, k.uid AS study_uid, count(i.sop_instance_uid) AS disputed,"
    " count(*) FILTER (WHERE i.recalled) AS recalled"
    " FROM unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, uid)"
    " LEFT JOIN routing.instances i ON i.source = k.source AND i.study_uid = k.uid AND i.disputed"
    " GROUP BY k.source, k.uid"
)
_RECALLED_UNSENT = text(
    "SELECT count(*) FROM routing.instances i WHERE i.source = :source AND i.study_uid = :study_uid"
    " AND i.recalled"
    " AND (CAST(:classes AS text[]) IS NULL OR i.sop_class_uid = ANY(CAST(:classes AS text[])))"
    " AND NOT EXISTS (SELECT 1 FROM routing.share_instances h WHERE h.share = :share"
    "  AND h.sop_instance_uid = i.sop_instance_uid AND h.state = 'confirmed')"
)
_REPLACE = text(
    "UPDATE routing.instances SET series_uid = :series_uid, sop_class_uid = :sop_class_uid,"
    " transfer_syntax = :transfer_syntax, modality = :modality, object_key = :object_key, size = :size,"
    " digest = :digest, directory_version = :directory_version, received_at = :received_at,"
    " event_id = :event_id, disputed = false, recalled = false"
    " WHERE source = :source AND study_uid = :study_uid AND sop_instance_uid = :sop_instance_uid"
    " AND event_id <> :event_id RETURNING sop_instance_uid"
)
_TAKE_BACK = text(
    "DELETE FROM routing.share_instances h USING routing.shares s WHERE s.id = h.share"
    " AND s.source = :source AND s.study_uid = :study_uid AND h.sop_instance_uid = :sop_instance_uid"
    " AND h.state = 'waiting' RETURNING h.share"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a destination said of one instance of a share."""

    share: UUID
    sop_instance_uid: str
    digest: str
    state: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """An instance of a share whose outcome is new."""

    share: UUID
    before: str
    after: str
    confirmed_at: datetime | None


class Repository:
    """Statements over one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        """`connection` is the unit of work's."""
        self._connection = connection

    async def lock_studies(self, keys: Iterable[StudyKey]) -> dict[StudyKey, Study]:
        """Those of the studies that are known, locked in one order until the transaction ends."""
        rows = await self._connection.execute(_LOCK_STUDIES, _pairs(keys))
        studies = (_study(row) for row in rows.mappings())
        return {study.key: study for study in studies}

    async def look_at_studies(self, keys: Iterable[StudyKey]) -> dict[StudyKey, Study]:
        """Those of the studies that are known, as they are now; nothing is locked."""
        rows = await self._connection.execute(_STUDIES, _pairs(keys))
        return {study.key: study for study in map(_study, rows.mappings())}

    async def studies_by(self, statement: TextClause, **parameters: Any) -> list[Study]:
        """The studies whose `source` and `study_uid` a statement gives; nothing is locked."""
        keys = [(row.source, row.study_uid) for row in await self._connection.execute(statement, parameters)]
        rows = await self._connection.execute(_STUDIES, _pairs(keys))
        return [_study(row) for row in rows.mappings()]

    async def lock_free_study(self, key: StudyKey) -> Study | None:
        """The study, locked, unless somebody has it."""
        parameters = {"source": key[0], "study_uid": key[1]}
        row = (await self._connection.execute(_LOCK_FREE_STUDY, parameters)).mappings().first()
        return None if row is None else _study(row)

    async def add_study(self, study: Study) -> bool:
        """Insert a study that is not there yet, which locks it; false where somebody else was first."""
        found = await self._connection.execute(_add_study(), _study_row(study))
        return found.first() is not None

    async def save_studies(self, studies: Sequence[Study]) -> None:
        """Write locked studies back."""
        if not studies:
            return
        rows = []
        for study in studies:
            row = _study_row(study)
            rows.append({**row, "of_source": row.pop("source"), "of_study": row.pop("study_uid")})
        await self._connection.execute(_save_studies(), rows)

    async def shares_of(self, keys: Iterable[StudyKey]) -> list[Share]:
        """Every share of the studies."""
        rows = await self._connection.execute(_SHARES, _pairs(keys))
        return [_share(row) for row in rows.mappings()]

    async def save_shares(self, shares: Sequence[Share]) -> None:
        """Insert or overwrite shares whose studies are locked."""
        if not shares:
            return
        rows = [
            {name: getattr(share, name) for name in _SHARE_FIELDS}
            | {name: list(getattr(share, name)) for name in _SHARE_LISTS}
            for share in shares
        ]
        await self._connection.execute(_save_shares(), rows)

    async def add_timeline(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert steps that are not there yet."""
        await insert_rows(self._connection, tables.timeline, rows, conflict="skip")

    async def add_instances(self, facts: Mapping[UUID, InstanceFacts]) -> set[UUID]:
        """Insert accepted instances by the id of their event; the ids whose instance was new."""
        rows = [
            {**{name: getattr(one, name) for name in _INSTANCE_COLUMNS}, "event_id": key}
            for key, one in facts.items()
        ]
        return await self._add_new(tables.instances, rows, "event_id")

    async def add_held(self, rows: Sequence[Mapping[str, Any]]) -> set[UUID]:
        """Insert instances in quarantine; the entries that were new."""
        return await self._add_new(tables.held, rows, "quarantine")

    async def add_repeats(self, facts: Mapping[UUID, InstanceFacts]) -> None:
        """Insert the same bytes' having come again."""
        columns = ("source", "study_uid", "sop_instance_uid", "received_at")
        rows = [
            {**{name: getattr(one, name) for name in columns}, "event_id": key} for key, one in facts.items()
        ]
        await self._add_new(tables.repeats, rows, "event_id")

    async def _add_new(self, table: Table, rows: Sequence[Mapping[str, Any]], key: str) -> set[UUID]:
        new = await insert_rows(self._connection, table, rows, returning=(key,), conflict="skip")
        return {row[0] for row in new}

    async def decide_held(self, entries: Collection[UUID], state: str, at: datetime) -> set[UUID]:
        """Released or discarded; the entries that waited until now."""
        if not entries:
            return set()
        parameters = {"entries": list(entries), "state": state, "at": at}
        return set((await self._connection.execute(_DECIDE_HELD, parameters)).scalars())

    async def dispute(self, instances: Sequence[tuple[str, str]]) -> None:
        """Accepted instances, by source and UID, that are not to leave while another copy waits."""
        if instances:
            names = {"sources": [one[0] for one in instances], "uids": [one[1] for one in instances]}
            await self._connection.execute(_DISPUTE, names)

    async def undispute(self, entries: Collection[UUID]) -> None:
        """Entries were decided: what only they disputed may leave."""
        if entries:
            await self._connection.execute(_UNDISPUTE, {"entries": list(entries)})

    async def disputed(self, keys: Sequence[StudyKey]) -> dict[StudyKey, tuple[int, int]]:
        """How many accepted instances of each study are in dispute, and how many of these were taken back."""
        if not keys:
            return {}
        names = {"sources": [key[0] for key in keys], "uids": [key[1] for key in keys]}
        rows = await self._connection.execute(_DISPUTED, names)
        return {(row.source, row.study_uid): (row.disputed, row.recalled) for row in rows}

    async def replace_instance(self, event_id: UUID, facts: InstanceFacts) -> list[UUID]:
        """Put other bytes in the place of accepted ones; the shares whose delivery had not sent those yet.

        What a destination has confirmed stays what was delivered.
        """
        row = {name: getattr(facts, name) for name in _INSTANCE_COLUMNS} | {"event_id": event_id}
        if (await self._connection.execute(_REPLACE, row)).first() is None:
            return []
        return list((await self._connection.execute(_TAKE_BACK, row)).scalars())

    async def hear_of_associations(self, rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, str, UUID]]:
        """Count instances of associations of studies; those associations that were new."""
        if not rows:
            return set()
        names = ("source", "study_uid", "association", "seen_at", "heard")
        found = await self._connection.execute(_HEARD, {name: [row[name] for row in rows] for name in names})
        return {(row.source, row.study_uid, row.association) for row in found if row.new}

    async def lost(self, keys: Collection[StudyKey]) -> dict[StudyKey, int]:
        """How many instances of the studies' ended associations were acknowledged and never heard of here."""
        if not keys:
            return {}
        rows = await self._connection.execute(_LOST, _pairs(keys))
        return {(row.source, row.study_uid): row.lost for row in rows}

    async def end_associations(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """No more of the studies comes in these associations."""
        if rows:
            names = ("source", "study_uid", "association", "seen_at", "ended_at", "received")
            await self._connection.execute(_ENDED, {name: [row[name] for row in rows] for name in names})

    async def has_open_association(self, key: StudyKey) -> bool:
        """Whether the end of one of the study's associations has not been heard of."""
        return bool(
            await self._connection.scalar(
                select(
                    exists().where(
                        tables.associations.c.source == key[0],
                        tables.associations.c.study_uid == key[1],
                        tables.associations.c.ended_at.is_(None),
                    )
                )
            )
        )

    async def hand_over(self, share: Share) -> dict[int, list[ManifestInstance]]:
        """Give the share every instance that it carries and has not, by the number of the manifest's part."""
        rows = await self._connection.execute(
            _HAND_OVER,
            {
                "share": share.id,
                "source": share.source,
                "study_uid": share.study_uid,
                "first_part": share.parts + 1,
                "part_size": PART_INSTANCES,
                **carrying.parameters(share),
            },
        )
        parts: dict[int, list[ManifestInstance]] = {}
        for row in rows.mappings():
            parts.setdefault(row["part"], []).append(
                ManifestInstance(**{name: row[name] for name in ManifestInstance.model_fields})
            )
        return parts

    async def count_left_out(self, study: Study, share: Share) -> Share:
        """The share with what it leaves out of its study now."""
        return await carrying.counted(self._connection, study, share)

    async def record_outcomes(self, outcomes: Sequence[Outcome]) -> list[Change]:
        """What destinations said; a confirmation is final, and other bytes' outcome is not this one's."""
        if not outcomes:
            return []
        rows = await self._connection.execute(
            _OUTCOMES,
            {
                "shares": [one.share for one in outcomes],
                "uids": [one.sop_instance_uid for one in outcomes],
                "digests": [one.digest for one in outcomes],
                "states": [one.state for one in outcomes],
                "reasons": [one.reason for one in outcomes],
                "ats": [one.at for one in outcomes],
            },
        )
        return [Change(*row) for row in rows]

    async def add_series(self, known: Mapping[StudyKey, Mapping[str, tuple[str, str, str]]]) -> None:
        """Remember series: modality, body part and description by UID, for each study."""
        rows = [
            {
                "source": source,
                "study_uid": study_uid,
                "series_uid": uid,
                "modality": modality,
                "body_part": body_part,
                "description": description,
            }
            for (source, study_uid), series in sorted(known.items())
            for uid, (modality, body_part, description) in sorted(series.items())
        ]
        await insert_rows(self._connection, tables.series, rows, conflict="skip")

    async def series_of(self, key: StudyKey) -> list[dict[str, Any]]:
        """The series of a study as a rule's condition sees them, with how many instances were accepted."""
        rows = await self._connection.execute(_SERIES, {"source": key[0], "study_uid": key[1]})
        return [dict(row) for row in rows.mappings()]

    async def held_reasons(self, share: Share) -> list[str]:
        """Why instances of its study that the share would carry wait in quarantine."""
        statement = (
            select(tables.held.c.reason)
            .where(
                tables.held.c.source == share.source,
                tables.held.c.study_uid == share.study_uid,
                tables.held.c.state == "waiting",
                _carried_classes(share),
            )
            .distinct()
            .order_by(tables.held.c.reason)
        )
        return list((await self._connection.execute(statement)).scalars())

    async def held_of(self, share: Share) -> list[HeldInstance]:
        """Everything that the share would carry and that ever came to quarantine, and what became of it."""
        held = tables.held.c
        rows = await self._connection.execute(
            select(
                held.quarantine,
                held.sop_instance_uid,
                held.reason,
                held.state,
                held.disputes,
                func.coalesce(held.decided_at, held.received_at).label("at"),
            )
            .where(held.source == share.source, held.study_uid == share.study_uid, _carried_classes(share))
            .order_by(held.received_at, held.quarantine)
        )
        return [
            HeldInstance(
                quarantine=row.quarantine,
                sop_instance_uid=row.sop_instance_uid,
                became="held" if row.state == "waiting" else row.state,
                disputes=row.disputes,
                reason=row.reason,
                at=row.at,
            )
            for row in rows
        ]

    async def failed_reasons(self, share: UUID) -> list[str]:
        """Why the destination did not take instances of the share."""
        statement = (
            select(tables.share_instances.c.reason)
            .where(tables.share_instances.c.share == share, tables.share_instances.c.state == "failed")
            .distinct()
            .order_by(tables.share_instances.c.reason)
        )
        return list((await self._connection.execute(statement)).scalars())

    async def recalled_unsent(self, share: Share) -> int:
        """How many instances the share lacks because their sender has taken them back."""
        classes = carrying.classes_of(share)
        names = {
            "share": share.id,
            "source": share.source,
            "study_uid": share.study_uid,
            "classes": None if classes is None else sorted(classes),
        }
        return int(await self._connection.scalar(_RECALLED_UNSENT, names) or 0)

    async def held_facts(self, key: StudyKey) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Modalities, SOP classes and body parts of what waits in quarantine."""
        statement = select(
            tables.held.c.modality, tables.held.c.sop_class_uid, tables.held.c.body_part
        ).where(
            tables.held.c.source == key[0],
            tables.held.c.study_uid == key[1],
            tables.held.c.state == "waiting",
        )
        rows = list(await self._connection.execute(statement))
        modalities, classes, parts = (frozenset(row[i] for row in rows if row[i]) for i in range(3))
        return modalities, classes, parts


def _carried_classes(share: Share) -> ColumnElement[bool]:
    classes = carrying.classes_of(share)
    return true() if classes is None else tables.held.c.sop_class_uid.in_(classes)


_STUDY_KEY = frozenset({"source", "study_uid"})


@cache
def _add_study() -> ReturningInsert[Any]:
    return insert(tables.studies).on_conflict_do_nothing().returning(tables.studies.c.source)


@cache
def _save_studies() -> Update:
    studies = tables.studies
    written = [name for name in (*_STUDY_FIELDS, "received") if name not in _STUDY_KEY]
    return (
        update(studies)
        .where(studies.c.source == bindparam("of_source"), studies.c.study_uid == bindparam("of_study"))
        .values({name: bindparam(name) for name in written})
    )


@cache
def _save_shares() -> Insert:
    statement = insert(tables.shares)
    changed = {name: statement.excluded[name] for name in _SHARE_FIELDS if name != "id"}
    return statement.on_conflict_do_update(index_elements=["id"], set_=changed)


def _pairs(keys: Iterable[StudyKey]) -> dict[str, list[str]]:
    ordered = sorted(set(keys))
    return {"sources": [source for source, _ in ordered], "uids": [uid for _, uid in ordered]}


def _study(row: Mapping[Any, Any]) -> Study:
    values: dict[str, Any] = {name: row[name] for name in _STUDY_FIELDS}
    values |= {name: frozenset(values[name]) for name in _STUDY_SETS}
    return Study(**values)


def _share(row: Mapping[Any, Any]) -> Share:
    values: dict[str, Any] = {name: row[name] for name in _SHARE_FIELDS}
    values |= {name: tuple(values[name]) for name in _SHARE_LISTS}
    return Share(**values)


def _study_row(study: Study) -> dict[str, Any]:
    row = {name: getattr(study, name) for name in _STUDY_FIELDS}
    row |= {name: sorted(row[name]) for name in _STUDY_SETS}
    row["received"] = study.received
    return row
