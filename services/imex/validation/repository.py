"""Validation's tables: what is known of a batch, read in one query a table, and what is new."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Table, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.bulk import insert_rows, select_rows
from imex.db.tables.validation import instances, judgements, persons, quarantine, studies
from imex.runtime import Transient
from imex.validation.batch import Known
from imex.validation.decide import Copy
from imex.validation.identity import Demographics

Key = tuple[str, str]
_PERSON = ("issuer", "patient_id", "patient_name", "birth_date", "sex")

_KNOWN = text(
    "SELECT 'accepted', k.first, k.second, t.event_id, t.digest, t.object_key, t.study_uid, NULL, NULL, false"
    " FROM unnest(CAST(:instance_first AS text[]), CAST(:instance_second AS text[])) AS k(first, second)"
    " JOIN validation.instances t ON t.source = k.first AND t.sop_instance_uid = k.second"
    " UNION ALL SELECT 'waiting', k.first, k.second, t.event_id, t.digest, NULL, t.study_uid, NULL, NULL,"
    " false"
    " FROM unnest(CAST(:instance_first AS text[]), CAST(:instance_second AS text[])) AS k(first, second)"
    " JOIN validation.quarantine t ON t.source = k.first AND t.sop_instance_uid = k.second"
    " AND t.state = 'waiting'"
    " UNION ALL SELECT 'study', k.first, k.second, NULL,"
    " t.issuer, t.patient_id, t.patient_name, t.birth_date, t.sex, t.temporary"
    " FROM unnest(CAST(:study_first AS text[]), CAST(:study_second AS text[])) AS k(first, second)"
    " JOIN validation.studies t ON t.source = k.first AND t.study_uid = k.second"
    " UNION ALL SELECT 'person', k.first, k.second, NULL,"
    " t.issuer, t.patient_id, t.patient_name, t.birth_date, t.sex, false"
    " FROM unnest(CAST(:person_first AS text[]), CAST(:person_second AS text[])) AS k(first, second)"
    " JOIN validation.persons t ON t.issuer = k.first AND t.patient_id = k.second"
    " UNION ALL SELECT 'traced', t.nhs_number, '', NULL, t.status, NULL, NULL, NULL, NULL, false"
    " FROM unnest(CAST(:person_first AS text[]), CAST(:person_second AS text[])) AS k(first, second)"
    " JOIN validation.traced t ON k.first = 'NHS' AND t.nhs_number = k.second"
)

_KEEP = text(
    "SELECT 1 FROM validation.instances i"
    " JOIN unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, uid)"
    " ON i.source = k.source AND i.sop_instance_uid = k.uid"
    " ORDER BY i.source, i.sop_instance_uid FOR KEY SHARE OF i"
)


class Repository:
    """Reads and writes inside the caller's transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        """`connection` is in a transaction, which the caller ends."""
        self._connection = connection

    async def accepted(self, keys: Iterable[Key]) -> dict[Key, Copy]:
        """The accepted bytes by (source, SOP Instance UID)."""
        rows = await select_rows(self._connection, instances, set(keys), ("source", "sop_instance_uid"))
        return {
            (row.source, row.sop_instance_uid): Copy(row.event_id, row.digest, row.study_uid) for row in rows
        }

    async def known(
        self, instances: Collection[Key], studies: Collection[Key], people: Collection[Key]
    ) -> Known:
        """What is known of instances and studies by source and UID, and of people by issuer and identifier.

        One round trip: a batch waits for each one, and an emergency with it.
        """
        found = Known()
        rows = await self._connection.execute(
            _KNOWN,
            {
                **_columns("instance", instances),
                **_columns("study", studies),
                **_columns("person", people),
            },
        )
        for kind, first, second, *rest in rows:
            key = (first, second)
            match kind:
                case "accepted":
                    found.accepted[key] = Copy(rest[0], rest[1], rest[3])
                    found.objects[key] = rest[2]
                case "waiting":
                    found.waiting[key] = (*found.waiting.get(key, ()), Copy(rest[0], rest[1], rest[3]))
                case "study":
                    found.studies[key] = Demographics(*rest[1:])
                case "person":
                    found.persons[key] = Demographics(*rest[1:])
                case "traced":
                    found.traced[first] = rest[1]
        return found

    async def add_instances(self, rows: Sequence[dict[str, Any]]) -> None:
        """Remember accepted bytes.

        Raises:
            Transient: another batch has just accepted one of them; judging again will see it.
        """
        await self._add_new(instances, rows, ("source", "sop_instance_uid"))

    async def add_studies(self, new: dict[Key, Demographics]) -> None:
        """Remember the demographics of studies.

        Raises:
            Transient: another batch has just done so.
        """
        rows = [{"source": source, "study_uid": uid, **asdict(known)} for (source, uid), known in new.items()]
        await self._add_new(studies, rows, ("source", "study_uid"))

    async def add_persons(self, new: dict[Key, Demographics]) -> None:
        """Remember persons.

        Raises:
            Transient: another batch has just done so.
        """
        rows = [{name: getattr(known, name) for name in _PERSON} for known in new.values()]
        await self._add_new(persons, rows, ("issuer", "patient_id"))

    async def know_studies(self, known: dict[Key, Demographics]) -> None:
        """Who it is has come in for studies of a temporary identity."""
        for (source, uid), now in sorted(known.items()):
            await self._connection.execute(
                update(studies)
                .where(studies.c.source == source, studies.c.study_uid == uid)
                .values(**asdict(now))
            )

    async def keep(self, keys: Collection[Key]) -> None:
        """Have accepted bytes stay until this transaction has ended.

        Raises:
            Transient: some are given up already (`imex.validation.disposal`); judging again will see it.
        """
        if not keys:
            return
        ordered = sorted(keys)
        kept = await self._connection.execute(
            _KEEP, {"sources": [key[0] for key in ordered], "uids": [key[1] for key in ordered]}
        )
        if len(kept.all()) != len(ordered):
            raise Transient("payloads have just been given up")

    async def replace_instances(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put other bytes in the place of accepted ones; the last of several for one instance stays."""
        newest = {(row["source"], row["sop_instance_uid"]): row for row in rows}
        for key in sorted(newest):
            row = newest[key]
            await self._connection.execute(
                update(instances)
                .where(instances.c.source == key[0], instances.c.sop_instance_uid == key[1])
                .values(**row)
            )

    async def rivals(self, source: str, sop_instance_uid: str) -> list[Any]:
        """Waiting copies of an instance that dispute the accepted one, locked."""
        q = quarantine.c
        rows = await self._connection.execute(
            select(quarantine)
            .where(
                q.source == source,
                q.sop_instance_uid == sop_instance_uid,
                q.state == "waiting",
                q.disputes.is_not(None),
            )
            .order_by(q.id)
            .with_for_update()
        )
        return list(rows)

    async def _add_new(self, table: Table, rows: Sequence[dict[str, Any]], key: tuple[str, str]) -> None:
        if not rows:
            return
        # one order of locking for all batches, so that two that overlap wait instead of dead-locking
        ordered = sorted(rows, key=lambda row: (row[key[0]], row[key[1]]))
        done = await insert_rows(self._connection, table, ordered, returning=(key[0],), conflict="skip")
        if len(done) != len(ordered):
            raise Transient(f"another batch has just written to {table.name}")

    async def add_judgements(self, rows: Sequence[dict[str, Any]]) -> None:
        """One row for each instance.received."""
        await insert_rows(self._connection, judgements, rows)

    async def add_quarantine(self, rows: Sequence[dict[str, Any]]) -> None:
        """New entries."""
        await insert_rows(self._connection, quarantine, rows)

    async def counts(self, source: str, study_uid: str, association: UUID) -> dict[str, int]:
        """How many instances of a study in one association got which judgement."""
        rows = await self._connection.execute(
            select(judgements.c.judgement, func.count().label("instances"))
            .where(
                judgements.c.source == source,
                judgements.c.study_uid == study_uid,
                judgements.c.association == association,
            )
            .group_by(judgements.c.judgement)
        )
        return {row.judgement: row.instances for row in rows}

    async def waiting_count(self) -> int:
        """How many entries wait for a person."""
        found = select(func.count()).select_from(quarantine).where(quarantine.c.state == "waiting")
        return await self._connection.scalar(found) or 0

    async def entry(self, quarantine_id: UUID) -> Any | None:
        """A quarantine entry, locked until the transaction ends."""
        rows = await self._connection.execute(
            select(quarantine).where(quarantine.c.id == quarantine_id).with_for_update()
        )
        return rows.one_or_none()

    async def settle(self, entry_id: UUID, event_id: UUID, state: str, actor: str, reason: str) -> None:
        """Write a person's decision on an entry."""
        await self._connection.execute(
            update(quarantine)
            .where(quarantine.c.id == entry_id)
            .values(state=state, decided_at=func.now(), decided_by=actor, decision_reason=reason)
        )
        await self._connection.execute(
            update(judgements).where(judgements.c.event_id == event_id).values(judgement=state)
        )


def _columns(name: str, keys: Collection[Key]) -> dict[str, list[str]]:
    return {f"{name}_first": [first for first, _ in keys], f"{name}_second": [second for _, second in keys]}
