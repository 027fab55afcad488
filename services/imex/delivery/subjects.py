"""What delivery has of a person: told, erased, put right."""
# ruff: noqa: S608  statements are made of constants of this file alone

from typing import Any, Final

from sqlalchemy import text

from imex.db import UnitOfWork
from imex.db.subjects import Finding, answer, parked
from imex.db.tables.delivery import common, subject_findings
from imex.dicom import compact, is_nhs_issuer
from imex.events.commands import SubjectCommanded
from imex.events.sealed import SealedPerson, seal_context
from imex.sealing import Sealer

_KEYS: Final = "unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, study_uid)"
_MINE: Final = "t.source = k.source AND t.study_uid = k.study_uid"
_PSEUDONYMS: Final = (
    f"EXISTS (SELECT 1 FROM delivery.releases t, {_KEYS} WHERE {_MINE} AND t.project = p.project"
    " AND t.source = p.source AND t.pseudonym = p.pseudonym)"
)
_IDENTIFIERS: Final = (
    "kind = 'patient' AND ((regexp_replace(value, '[ -]', '', 'g') = :written"
    "  AND (issuer = :issuer OR (issuer = '' AND source = :named)))"
    " OR (regexp_replace(own, '[ -]', '', 'g') = :written AND recipient = :named))"
)
_INBOX: Final = (
    f"FROM delivery.inbox_instances i WHERE EXISTS (SELECT 1 FROM delivery.deliveries t, {_KEYS}"
    f" WHERE {_MINE} AND t.share = i.share)"
)
_KEPT_PSEUDONYMS: Final = "studies of this person are kept, and can be returned under them"


async def obey(unit: UnitOfWork, command: SubjectCommanded, sealer: Sealer) -> None:
    """Do what the command says, and answer with counts."""
    asked = command.data
    named = sealer.open_as(SealedPerson, asked.person, seal_context("subject", asked.subject))
    issuer = "NHS" if is_nhs_issuer(named.issuer) else named.issuer
    who = {"written": compact(named.patient_id), "issuer": issuer, "named": named.issuer}
    every = _pairs([(one.source, one.study_uid) for one in asked.studies])
    gone = _pairs([(one.source, one.study_uid) for one in asked.studies if not one.kept])
    kept = "; ".join(sorted({one.kept for one in asked.studies if one.kept}))
    erase = asked.command == "erase"
    run, scalar = unit.connection.execute, unit.connection.scalar

    async def count(statement: str, names: dict[str, Any]) -> int:
        return int(await scalar(text(f"SELECT count(*) {statement}"), names) or 0)

    found = [
        Finding("delivery.identifiers", await count(f"FROM delivery.identifiers WHERE {_IDENTIFIERS}", who)),
        Finding("delivery.pseudonyms", await count(f"FROM delivery.pseudonyms p WHERE {_PSEUDONYMS}", every)),
        Finding(
            "delivery.releases",
            await count(f"FROM delivery.releases t, {_KEYS} WHERE {_MINE} AND t.sealed <> '{{}}'", every),
        ),
        Finding("inboxes", await count(_INBOX, every)),
    ]
    done: dict[str, int] = {}
    if erase:
        for place, statement, names in (
            ("delivery.identifiers", f"DELETE FROM delivery.identifiers WHERE {_IDENTIFIERS}", who),
            ("inboxes", f"DELETE {_INBOX}", gone),
        ):
            if place != "delivery.identifiers" or not kept:
                done[place] = (await run(text(statement), names)).rowcount
        if not kept:
            pseudonyms = text(f"DELETE FROM delivery.pseudonyms p WHERE {_PSEUDONYMS}")
            done["delivery.pseudonyms"] = (await run(pseudonyms, gone)).rowcount
        # the UIDs stay: by them the recipient goes on being told which study it is
        releases = text(
            f"UPDATE delivery.releases t SET sealed = '{{}}' FROM {_KEYS}"
            f" WHERE {_MINE} AND t.sealed <> '{{}}'"
        )
        done["delivery.releases"] = (await run(releases, gone)).rowcount
    elif asked.command == "rectify" and asked.right is not None:
        right = sealer.open_as(SealedPerson, asked.right, seal_context("subject-right", asked.subject))
        done["delivery.identifiers"] = await _rectify(unit, who, right)
    if asked.command != "report":
        why = (kept or _KEPT_PSEUDONYMS) if erase else ""
        found = [Finding(one.place, one.found, done.get(one.place, 0), why) for one in found]
    keys = [f"{s}/{u}" for s, u in zip(gone["sources"], gone["uids"], strict=True)]
    found.append(await parked(unit.connection, common, keys, erase=erase))
    await answer(unit.connection, subject_findings, asked.subject, found)


async def _rectify(unit: UnitOfWork, who: dict[str, str], right: SealedPerson) -> int:
    """Names and birth dates beside recipients' own identifiers."""
    said = {"name": right.patient_name, "birth_date": right.birth_date}
    new = {f"new_{name}": value for name, value in said.items() if value}
    if not new:
        return 0
    sets = ", ".join(f"{name.removeprefix('new_')} = :{name}" for name in new)
    statement = f"UPDATE delivery.identifiers SET {sets} WHERE {_IDENTIFIERS}"
    return (await unit.connection.execute(text(statement), {**who, **new})).rowcount


def _pairs(keys: list[tuple[str, str]]) -> dict[str, list[str]]:
    return {"sources": [key[0] for key in keys], "uids": [key[1] for key in keys]}
