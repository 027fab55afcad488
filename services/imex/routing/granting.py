"""What a granted request becomes: shares of what is here, an order for what the holder's archives have."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import RowMapping, exists, text, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables import routing as tables
from imex.directory import Agreement, DirectoryIndex, covering_agreement
from imex.directory.agreements import may_ever_cover
from imex.directory.index import local_time
from imex.events import Sealed, ids
from imex.events.retrievals import (
    HeldStudy,
    RetrievalOrdered,
    RetrievalOrderedData,
    RetrievalWithdrawn,
    RetrievalWithdrawnData,
)
from imex.events.sealed import seal_context
from imex.routing import publish, studies
from imex.routing.patients import studies_of
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.sitting import sitting
from imex.routing.surroundings import Surroundings
from imex.routing.wanted import OpenWanted, fits
from imex.sharing.decisions import Addressed
from imex.sharing.model import Study, StudyKey
from imex.sharing.persons import person
from imex.sharing.wishes import latest

MOST_STUDIES: Final = 50
"""That one request is answered with, the newest."""

_OF_ACCESSION = text(
    "SELECT source, study_uid FROM routing.studies"
    " WHERE source = :holder AND accession = :accession AND validated > 0"
)
_OF_UID = text(
    "SELECT source, study_uid FROM routing.studies"
    " WHERE source = :holder AND study_uid = :study_uid AND validated > 0"
)


def agreement_for(
    index: DirectoryIndex, holder: str, requester: str, purpose: str, at: datetime
) -> tuple[Agreement | None, str]:
    """The agreement under which anything could be shared in answer, or why there is none."""
    covered = covering_agreement(index, holder, requester, purpose, at)
    if covered.agreement is not None and covered.agreement.deidentify is not None:
        # what is shared in answer would tell who is behind a pseudonym
        words = (
            f"agreement {covered.agreement.id} de-identifies what is shared: nobody can be asked for by name"
        )
        return None, words
    return covered.agreement, covered.words


def archives_of(index: DirectoryIndex, holder: str) -> tuple[str, ...]:
    """Names of the holder's endpoints that may be asked, in the directory's order."""
    institution = index.institutions.get(holder)
    endpoints = institution.endpoints if institution is not None else ()
    return tuple(one.name for one in endpoints if one.type != "inbox" and one.query)


def _modalities(index: DirectoryIndex, row: RowMapping, at: datetime) -> tuple[str, ...] | None:
    """The only ones of which anything could be shared; None where it may be any."""
    found: set[str] = set()
    day = local_time(at).date()
    for agreement in index.agreements_between(row["holder"], row["requester"]):
        if not may_ever_cover(agreement, row["purpose"], day, None, None):
            continue
        if agreement.modalities is None:
            return None
        found.update(agreement.modalities)
    return tuple(sorted(found))


async def matching(repository: Repository, row: RowMapping, open_wanted: OpenWanted) -> list[Study]:
    """The holder's studies here that a request is about, the newest; nothing is locked."""
    return (await all_matching(repository, row, open_wanted))[:MOST_STUDIES]


async def all_matching(repository: Repository, row: RowMapping, open_wanted: OpenWanted) -> list[Study]:
    """The same, and all of them."""
    if row["wanted"] is None:
        return []
    wanted = open_wanted(Sealed.model_validate(row["wanted"]), seal_context("request", row["id"]))
    holder = row["holder"]
    if wanted.study_uid:
        found = await repository.studies_by(_OF_UID, holder=holder, study_uid=wanted.study_uid)
    elif wanted.accession:
        found = await repository.studies_by(_OF_ACCESSION, holder=holder, accession=wanted.accession)
    else:
        whose = person(holder, wanted.issuer, wanted.patient_id)
        if whose is None:
            return []
        found = await studies_of(repository, holder, whose)
    fitting = [study for study in found if fits(study, row)]
    fitting.sort(key=lambda study: study.first_received_at, reverse=True)
    return fitting


async def share(
    unit: UnitOfWork,
    row: RowMapping,
    keys: Collection[StudyKey],
    cause: UUID,
    around: Surroundings,
    *,
    by: str,
    words: str,
    once: bool = False,
) -> list[UUID]:
    """Share studies by a request, and end its waiting where anything is; the shares that live.

    `once`: not what was asked for by this request before, whatever became of it.
    """
    shares: list[UUID] = []
    reference = str(row["id"])
    async with sitting(unit, around, keys) as now:
        for key in sorted(now.studies):
            study = now.studies[key]
            if once and any(one.reference == reference for one in now.docket.of(study)):
                continue
            told = Cause(ids.derived("request", str(cause), *key), around.clock(), publish.person(by))
            wish = Addressed(
                recipient=row["requester"],
                purpose=row["purpose"],
                priority=row["priority"],
                origin="command",
                reference=reference,
            )
            made = now.deciding.ask_by_hand(study, wish, told) or latest(
                now.docket.of(study), row["requester"], row["purpose"]
            )
            if made is None or not made.live:
                continue  # refused after all, or it has had its time
            now.docket.note(made, "request_granted", told, reason=words, details={"request": reference})
            now.studies[key] = studies.due_again(study, made)
            shares.append(made.id)
    if shares:
        await unit.connection.execute(
            insert(tables.request_shares).on_conflict_do_nothing(),
            [{"request": row["id"], "share": one} for one in shares],
        )
    return shares


async def answered(unit: UnitOfWork, row: RowMapping, by: str, words: str, at: datetime) -> None:
    """The first share is there: who asked learns now that it was granted, and not before."""
    r = tables.requests.c
    await unit.connection.execute(
        update(tables.requests)
        .where(r.id == row["id"], r.state == "open")
        .values(state="granted", answer=words, decided_by=by, decided_at=at)
    )
    await forget(unit, row["id"])


async def forget(unit: UnitOfWork, request: UUID) -> None:
    """Who is meant is forgotten once nothing can be looked for any more."""
    r = tables.requests.c
    f = tables.request_studies.c
    to_come = exists().where(f.request == request, f.shared_at.is_(None))
    under_way = r.retrieval.in_(("asking", "retrieving", "partial", "failed"))
    await unit.connection.execute(
        update(tables.requests)
        .where(r.id == request, r.state == "granted", r.retrieval.is_(None) | ~under_way, ~to_come)
        .values(wanted=None)
    )


async def order(
    unit: UnitOfWork, row: RowMapping, held: Sequence[Study], cause: UUID, around: Surroundings
) -> bool:
    """Have the holder's archives asked, where there are any that may be; whether it is ordered."""
    index = around.index()
    archives = archives_of(index, row["holder"])
    agreement, _ = agreement_for(index, row["holder"], row["requester"], row["purpose"], around.clock())
    if not archives or agreement is None or row["wanted"] is None:
        return False
    number = row["retrieval_order"] + 1
    values: dict[str, Any] = {"retrieval": "asking", "retrieval_words": "", "retrieval_order": number}
    await unit.connection.execute(
        update(tables.requests).where(tables.requests.c.id == row["id"]).values(**values)
    )
    unit.publish(
        RetrievalOrdered.of(
            id=ids.derived("retrieval ordered", str(row["id"]), str(number)),
            subject=f"request/{row['id']}",
            time=around.clock(),
            data=RetrievalOrderedData(
                request=row["id"],
                order=number,
                holder=row["holder"],
                requester=row["requester"],
                purpose=row["purpose"],
                endpoints=archives,
                priority=row["priority"],
                wanted=Sealed.model_validate(row["wanted"]),
                modality=row["modality"],
                studied_from=row["studied_from"],
                studied_until=row["studied_until"],
                modalities=_modalities(index, row, around.clock()),
                most=MOST_STUDIES,
                held=tuple(HeldStudy(study_uid=one.study_uid, instances=one.validated) for one in held),
                expires_at=row["expires_at"],
            ),
        )
    )
    return True


def withdraw(unit: UnitOfWork, row: RowMapping, reason: str, at: datetime) -> None:
    """Have nothing more fetched."""
    if row["retrieval"] not in {"asking", "retrieving"}:
        return
    unit.publish(
        RetrievalWithdrawn.of(
            id=ids.derived("retrieval withdrawn", str(row["id"]), str(row["retrieval_order"])),
            subject=f"request/{row['id']}",
            time=at,
            data=RetrievalWithdrawnData(
                request=row["id"], order=row["retrieval_order"], holder=row["holder"], reason=reason
            ),
        )
    )
