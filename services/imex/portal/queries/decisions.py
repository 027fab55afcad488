"""Recorded decisions, a page of studies at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import text

from imex.db import Database
from imex.sharing.recorded import Answer, OpenPart, PersonalPart, RecordedQuestion

_STUDIES = 200
_PAGE = text(
    "WITH page AS (SELECT DISTINCT source, study_uid FROM routing.decisions"
    " WHERE at >= :since AND (source, study_uid) > (:source, :study_uid)"
    " ORDER BY source, study_uid LIMIT :limit)"
    " SELECT d.source, d.study_uid, d.at, d.question, d.personal, d.answer FROM routing.decisions d"
    " JOIN page p ON p.source = d.source AND p.study_uid = d.study_uid WHERE d.at >= :since"
    " ORDER BY d.source, d.study_uid, d.seq"
)


@dataclass(frozen=True, slots=True)
class StudyDecisions:
    """What was decided of one study, in order. The questions hold patient data: never log them."""

    source: str
    study_uid: str
    at: datetime
    """Of the last decision."""
    questions: tuple[RecordedQuestion, ...]
    answers: tuple[Answer, ...]


async def by_study(database: Database, since: datetime) -> AsyncIterator[list[StudyDecisions]]:
    """Every study that was decided about since then, whoever sent it; in pages."""
    source, study_uid = "", ""
    while True:
        async with database.look() as connection:
            rows = list(
                await connection.execute(
                    _PAGE, {"since": since, "source": source, "study_uid": study_uid, "limit": _STUDIES}
                )
            )
        if not rows:
            return
        page = []
        for (source, study_uid), group in groupby(rows, key=lambda row: (row.source, row.study_uid)):
            told = list(group)
            page.append(
                StudyDecisions(
                    source,
                    study_uid,
                    told[-1].at,
                    tuple(
                        RecordedQuestion(
                            open=OpenPart.model_validate(row.question),
                            personal=PersonalPart.model_validate(row.personal or {}),
                        )
                        for row in told
                    ),
                    tuple(Answer.model_validate(row.answer) for row in told),
                )
            )
        yield page
