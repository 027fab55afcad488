"""What is known around studies when shares are decided: marks of the record, and where they have been."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db import is_outage
from imex.directory import Marks
from imex.routing.studies import MOST_REFERENCED
from imex.sharing.decisions import Background, Returning
from imex.sharing.model import Study, StudyKey
from imex.sharing.passage import passed_through
from imex.sharing.persons import Person, person_of
from imex.sharing.results import RESULT_CLASSES

_UNMARKED = Marks(opted_out=False, sensitive=False)
_ANONYMOUS = Marks(opted_out=None, sensitive=False)
"""Without an identifier nobody can be looked up, and nothing can have been marked."""
_MARKS = text(
    "SELECT m.issuer, m.patient_id, m.opted_out, m.sensitive FROM routing.marks m"
    " JOIN unnest(CAST(:issuers AS text[]), CAST(:patients AS text[])) AS p(issuer, patient_id)"
    " ON m.issuer = p.issuer AND m.patient_id = p.patient_id"
)
# who shared a study with its source, before its source shared it with them: what its source makes of it is a
# result of theirs. A share that brings results back is no cause of further ones.
_RETURNING = text(
    "WITH named AS (SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:uids AS text[]),"
    "  CAST(:known_as AS text[])) AS n(source, study_uid, known_as))"
    " SELECT k.source, k.study_uid, m.modalities, c.origin, c.id, c.purpose, c.priority, c.agreement,"
    "  c.quiet_s, EXISTS (SELECT FROM routing.instances i WHERE i.source = k.source"
    "   AND i.study_uid = k.study_uid AND i.sop_class_uid = ANY(CAST(:classes AS text[]))"
    "   AND NOT EXISTS (SELECT FROM routing.instances o WHERE o.source = c.origin"
    "    AND o.sop_instance_uid = i.sop_instance_uid)) AS fresh"
    " FROM (SELECT DISTINCT source, study_uid FROM named) k"
    " CROSS JOIN LATERAL (SELECT array_agg(DISTINCT i.modality) AS modalities FROM routing.instances i"
    "  WHERE i.source = k.source AND i.study_uid = k.study_uid"
    "  AND i.sop_class_uid = ANY(CAST(:classes AS text[]))) m"
    " LEFT JOIN LATERAL (SELECT DISTINCT ON (s.source) s.source AS origin, s.id, s.purpose, s.agreement,"
    "   s.quiet_s, coalesce(s.escalated_to, s.priority) AS priority, s.study_uid AS shared_as,"
    "   min(s.created_at) OVER (PARTITION BY s.source) AS first_at"
    "  FROM named n JOIN routing.shares s ON s.study_uid = n.known_as OR s.given_study_uid = n.known_as"
    "  WHERE n.source = k.source AND n.study_uid = k.study_uid"
    # what left de-identified is put back by its own study alone
    "  AND (n.known_as = k.study_uid OR NOT s.deidentified) AND s.recipient = k.source"
    "  AND s.source <> k.source AND s.parts > 0 AND s.origin <> 'return'"
    "  AND s.state NOT IN ('refused', 'cancelled', 'revoked')"
    "  ORDER BY s.source, s.created_at DESC) c ON NOT EXISTS ("
    "   SELECT FROM routing.shares b WHERE b.source = k.source AND b.recipient = c.origin AND b.parts > 0"
    "   AND b.origin <> 'return' AND b.study_uid IN (k.study_uid, c.shared_as) AND b.created_at < c.first_at)"
    " WHERE m.modalities IS NOT NULL ORDER BY k.source, k.study_uid, c.origin"
)
# who has shared each of the studies that results are about with their maker: also what was taken back since
_SHARED = text(
    "SELECT DISTINCT n.source, n.study_uid, n.known_as, s.source AS origin"
    " FROM unnest(CAST(:sources AS text[]), CAST(:uids AS text[]), CAST(:known_as AS text[]))"
    "  AS n(source, study_uid, known_as)"
    " JOIN routing.shares s ON s.study_uid = n.known_as OR s.given_study_uid = n.known_as"
    " WHERE s.recipient = n.source AND s.source <> n.source AND s.parts > 0 AND s.origin <> 'return'"
)
# a share counts once something of it was handed over; a source has what it sent
_LEGS = text(
    "SELECT study_uid, source, recipient, state = 'delivered' AS delivered FROM routing.shares"
    " WHERE study_uid = ANY(CAST(:uids AS text[])) AND parts > 0 AND origin <> 'return'"
    " UNION ALL SELECT study_uid, source, source, true FROM routing.studies"
    " WHERE study_uid = ANY(CAST(:uids AS text[]))"
)

_NAMED = ("sources", "uids", "known_as")
_log = structlog.get_logger(__name__)


class Marking(Protocol):
    """Where it is looked up what is marked of people's records: a port, for national services too."""

    async def marks(
        self, connection: AsyncConnection, persons: Collection[Person]
    ) -> Mapping[Person, Marks | None]:
        """What is marked of each; None where it could not be looked up, missing where nothing is.

        Raising anything means that nobody could be looked up.
        """
        ...


class LocalMarking:
    """The table `routing.marks`: what administrators have entered."""

    async def marks(
        self, connection: AsyncConnection, persons: Collection[Person]
    ) -> Mapping[Person, Marks | None]:
        """One statement for all."""
        ordered = sorted(persons)
        rows = await connection.execute(
            _MARKS,
            {"issuers": [one.issuer for one in ordered], "patients": [one.patient_id for one in ordered]},
        )
        return {
            Person(row.issuer, row.patient_id): Marks(opted_out=row.opted_out, sensitive=row.sensitive)
            for row in rows
        }


class Backgrounds:
    """Looks around studies."""

    def __init__(self, marking: Marking) -> None:
        """`marking` is asked for every person."""
        self._marking = marking

    async def around(
        self, connection: AsyncConnection, studies: Collection[Study]
    ) -> Mapping[StudyKey, Background]:
        """The background of each study; two statements for all of them, and one for those with results."""
        if not studies:
            return {}
        marks = await self._marks(connection, studies)
        legs: dict[str, list[tuple[str, str, bool]]] = defaultdict(list)
        rows = await connection.execute(_LEGS, {"uids": sorted({study.study_uid for study in studies})})
        for study_uid, source, recipient, delivered in rows:
            legs[study_uid].append((source, recipient, delivered))
        results, returning = await _results(connection, studies)
        return {
            study.key: replace(
                _background(study, marks[study.key], legs.get(study.study_uid, ())),
                results=results.get(study.key, frozenset()),
                returning=tuple(returning.get(study.key, ())),
            )
            for study in studies
        }

    async def _marks(
        self, connection: AsyncConnection, studies: Collection[Study]
    ) -> Mapping[StudyKey, Marks]:
        persons = {study.key: person_of(study) for study in studies}
        asked = {one for one in persons.values() if one is not None}
        found: Mapping[Person, Marks | None] | None = {}
        if asked:
            try:
                found = await self._marking.marks(connection, asked)
            except Exception as error:
                if is_outage(error):
                    raise
                # it fails closed: nothing that needs to know goes
                _log.exception("marks could not be looked up", persons=len(asked))
                found = None
        return {key: _marks_of(one, found) for key, one in persons.items()}


async def _results(
    connection: AsyncConnection, studies: Collection[Study]
) -> tuple[dict[StudyKey, frozenset[str]], dict[StudyKey, list[Returning]]]:
    """The modalities of each study's results, and to whom these could go back."""
    keys = sorted(
        (*study.key, name)
        for study in studies
        if not study.sop_classes.isdisjoint(RESULT_CLASSES)
        for name in (study.study_uid, *study.referenced)
    )
    results: dict[StudyKey, frozenset[str]] = {}
    returning: dict[StudyKey, list[Returning]] = defaultdict(list)
    if not keys:
        return results, returning
    asked = {
        "sources": [source for source, _, _ in keys],
        "uids": [uid for _, uid, _ in keys],
        "known_as": [name for _, _, name in keys],
        "classes": sorted(RESULT_CLASSES),
    }
    shared = await _shared_all(connection, studies, asked)
    for row in await connection.execute(_RETURNING, asked):
        key = (row.source, row.study_uid)
        results[key] = frozenset(row.modalities)
        if row.origin is not None:
            returning[key].append(
                Returning(
                    origin=row.origin,
                    share=row.id,
                    purpose=row.purpose,
                    priority=row.priority,
                    agreement=row.agreement,
                    quiet_s=row.quiet_s,
                    fresh=row.fresh,
                    mixed=key in shared and row.origin not in shared[key],
                )
            )
    return results, returning


async def _shared_all(
    connection: AsyncConnection, studies: Collection[Study], asked: Mapping[str, list[str]]
) -> dict[StudyKey, set[str]]:
    """Of each study whose results are about further ones: who has shared all those that anybody has shared.

    Nobody, where there may be more of them than are remembered.
    """
    about_more = {study.key: study for study in studies if study.referenced}
    if not about_more:
        return {}
    by_name: dict[StudyKey, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in await connection.execute(_SHARED, {name: asked[name] for name in _NAMED}):
        by_name[row.source, row.study_uid][row.known_as].add(row.origin)
    return {
        key: set.intersection(*by_name[key].values())
        if by_name[key] and len(study.referenced) < MOST_REFERENCED
        else set()
        for key, study in about_more.items()
    }


def _marks_of(one: Person | None, found: Mapping[Person, Marks | None] | None) -> Marks:
    if one is None:
        return _ANONYMOUS
    if found is None:
        return Marks()
    return found.get(one, _UNMARKED) or Marks()


def _background(study: Study, marks: Marks, legs: Iterable[tuple[str, str, bool]]) -> Background:
    gone = [(source, recipient) for source, recipient, _ in legs if source != recipient]
    held = {recipient for source, recipient, delivered in legs if delivered and recipient != study.source}
    return Background(marks, passed_through(study.source, gone), frozenset(held))
