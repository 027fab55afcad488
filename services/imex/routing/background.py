"""What is known around studies when shares are decided: marks of the record, and where they have been."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db import is_outage
from imex.directory import Marks
from imex.sharing.decisions import Background
from imex.sharing.model import Study, StudyKey
from imex.sharing.passage import passed_through
from imex.sharing.persons import Person, person_of

_UNMARKED = Marks(opted_out=False, sensitive=False)
_ANONYMOUS = Marks(opted_out=None, sensitive=False)
"""Without an identifier nobody can be looked up, and nothing can have been marked."""
_MARKS = text(
    "SELECT m.issuer, m.patient_id, m.opted_out, m.sensitive FROM routing.marks m"
    " JOIN unnest(CAST(:issuers AS text[]), CAST(:patients AS text[])) AS p(issuer, patient_id)"
    " ON m.issuer = p.issuer AND m.patient_id = p.patient_id"
)
# a share counts once something of it was handed over; a source has what it sent
_LEGS = text(
    "SELECT study_uid, source, recipient, state = 'delivered' AS delivered FROM routing.shares"
    " WHERE study_uid = ANY(CAST(:uids AS text[])) AND parts > 0"
    " UNION ALL SELECT study_uid, source, source, true FROM routing.studies"
    " WHERE study_uid = ANY(CAST(:uids AS text[]))"
)

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
        """The background of each study; two statements for all of them."""
        if not studies:
            return {}
        marks = await self._marks(connection, studies)
        legs: dict[str, list[tuple[str, str, bool]]] = defaultdict(list)
        rows = await connection.execute(_LEGS, {"uids": sorted({study.study_uid for study in studies})})
        for study_uid, source, recipient, delivered in rows:
            legs[study_uid].append((source, recipient, delivered))
        return {
            study.key: _background(study, marks[study.key], legs.get(study.study_uid, ()))
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
