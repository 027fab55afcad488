"""The loop behind corrections: notes that were heard are opened, Imex's own are written, sent and deleted."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, exists, func, select, text, update

from imex.db import Database, UnitOfWork
from imex.db.bulk import insert_rows
from imex.db.tables.routing import corrected_instances, corrected_shares, corrections, note_deliveries
from imex.dicom.rejection import EXPLICIT, KEY_OBJECT_SELECTION, About, Reference, write_note
from imex.events import ids
from imex.events.manifests import (
    ManifestClosed,
    ManifestClosedData,
    ManifestInstance,
    ManifestIssued,
    ManifestIssuedData,
)
from imex.hl7.adt import MESSAGE_CLASS, CannotWrite
from imex.routing import notices, publish
from imex.routing.corrections.hearing import heard
from imex.routing.corrections.messages import SYNTAX, OpenFacts, write
from imex.routing.corrections.opening import (
    CannotCorrect,
    Opening,
    listeners_of,
    note_delivery,
    note_name,
    where_it_is,
)
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.sitting import locked
from imex.routing.surroundings import Surroundings
from imex.sharing.model import Share, Study, more_urgent
from imex.storage import ObjectNotFound, ObjectStore
from imex.storage.keys import NOTES_PREFIX

_BATCH = 20
_BY_ITSELF = text(
    "UPDATE routing.corrected_shares k SET state = CASE h.state WHEN 'confirmed' THEN 'notified'"
    "  ELSE 'unreached' END, reason = h.reason, notified_at = h.confirmed_at"
    " FROM routing.corrections c, routing.share_instances h"
    " WHERE k.state = 'notifying' AND k.delivery IS NULL AND c.id = k.correction AND h.share = k.share"
    " AND h.sop_instance_uid = c.note_uid AND h.state <> 'waiting'"
)
"""Where a sender's note goes with the share, what became of it is what became of the instance."""

_log = structlog.get_logger(__name__)


class Notes:
    """Looks again and again. Each step is one transaction, and may be cut off at any point."""

    def __init__(
        self,
        database: Database,
        around: Surroundings,
        store: ObjectStore,
        *,
        outstanding: timedelta,
        kept: timedelta,
        open_facts: OpenFacts,
    ) -> None:
        """`store` takes notes. A notice is raised after `outstanding`; a note is deleted after `kept`.

        `open_facts` opens what a correction says of a person.
        """
        self._open_facts = open_facts
        self._database = database
        self._around = around
        self._store = store
        self._outstanding = outstanding
        self._kept = kept

    async def turn(self) -> bool:
        """See to what is due; true where more may be. Raises what the store raises when it is away."""
        more = await self._open_heard()
        more |= await self._send()
        async with self._database.unit() as unit:
            await unit.connection.execute(_BY_ITSELF)
        return more

    async def tidy(self) -> bool:
        """Raise notices of what is outstanding for too long, and delete notes that nobody waits for."""
        await self._raise_notices()
        await self._delete()
        return False

    async def _open_heard(self) -> bool:
        async with self._database.unit() as unit:
            c = corrections.c
            row = (
                await unit.connection.execute(
                    select(corrections)
                    .where(c.state == "heard")
                    .order_by(c.at)
                    .limit(1)
                    .with_for_update(skip_locked=True)
                )
            ).one_or_none()
            if row is None:
                return False
            at = self._around.clock()
            cause = Cause(row.id, at, publish.institution(row.source))
            async with locked(unit, self._around, [(row.source, row.study_uid)]) as now:
                opening = Opening(unit, now.repository, now.docket, self._around.index())
                for key, study in now.studies.items():
                    try:
                        now.studies[key] = await opening.open(study, await heard(unit, row), cause)
                    except CannotCorrect as error:
                        _log.info("a rejection note takes nothing back", source=row.source, reason=str(error))
                now.finish(at)
            await unit.connection.execute(
                update(corrections).where(c.id == row.id, c.state == "heard").values(state="open")
            )
        return True

    async def _send(self) -> bool:
        async with self._database.unit() as unit:
            k, c = corrected_shares.c, corrections.c
            due = (
                await unit.connection.execute(
                    select(corrections)
                    .where(c.id.in_(select(k.correction).where(k.state == "due").limit(_BATCH)))
                    .order_by(c.at)
                    .limit(1)
                    .with_for_update(skip_locked=True)
                )
            ).one_or_none()
            if due is None:
                return False
            repository = Repository(unit.connection)
            key = (due.source, due.study_uid)
            study = (await repository.look_at_studies([key]))[key]
            try:
                if due.kind == "recall":
                    instance = await self._instance(unit, due, study)
                else:
                    instance = await self._message(unit, due, study)
            except CannotWrite as error:
                await unit.connection.execute(
                    update(corrected_shares)
                    .where(k.correction == due.id, k.state == "due")
                    .values(state="told", reason=f"no HL7 message could be written: {error}")
                )
                return True
            except ValueError as error:
                # it keeps no other from being sent
                _log.error("a rejection note cannot be written", correction=str(due.id), reason=str(error))
                await unit.connection.execute(
                    update(corrected_shares)
                    .where(k.correction == due.id, k.state == "due")
                    .values(state="unreached", reason="the rejection note could not be written")
                )
                return True
            waiting = (
                await unit.connection.execute(
                    select(k.share).where(k.correction == due.id, k.state == "due").with_for_update()
                )
            ).scalars()
            names = set(waiting)
            for share in await repository.shares_of([key]):
                if share.id in names:
                    await self._hand_over(unit, due, share, instance)
        return True

    async def _instance(self, unit: UnitOfWork, due: Row[Any], study: Study) -> ManifestInstance:
        """The note as an instance to deliver; Imex's own is written, which may be done twice."""
        if due.note_key is not None:
            return _manifest_instance(
                due, {"key": due.note_key, "size": due.note_size, "digest": due.note_digest}
            )
        references = [
            Reference(row.sop_instance_uid, row.sop_class_uid, row.series_uid)
            for row in await unit.connection.execute(
                select(corrected_instances)
                .where(corrected_instances.c.correction == due.id)
                .order_by(corrected_instances.c.series_uid, corrected_instances.c.sop_instance_uid)
            )
        ]
        name = note_name(due.id)
        note = await asyncio.to_thread(
            write_note,
            _about(study),
            due.code,
            references,
            note=name,
            series=ids.derived("rejection note series", str(due.id)),
            at=due.at,
        )
        key = _key(due, name)
        await self._store.put(key, note.file())
        written = {"key": key, "size": len(note.dataset), "digest": note.digest}
        await unit.connection.execute(
            update(corrections)
            .where(corrections.c.id == due.id)
            .values(
                note_key=key,
                note_size=written["size"],
                note_digest=note.digest,
                note_syntax=EXPLICIT,
            )
        )
        return _manifest_instance(due, written)

    async def _message(self, unit: UnitOfWork, due: Row[Any], study: Study) -> ManifestInstance:
        """An HL7 message as an instance to deliver; writing it twice gives the same."""
        name = note_name(due.id)
        written = write(due.id, due.kind, due.personal, study, name, due.at, self._open_facts)
        key = _key(due, name)
        await self._store.put(key, written.file)
        await unit.connection.execute(
            update(corrections)
            .where(corrections.c.id == due.id)
            .values(
                note_sent_by="imex",
                note_key=key,
                note_size=written.size,
                note_digest=written.digest,
                note_syntax=SYNTAX,
            )
        )
        return ManifestInstance(
            sop_instance_uid=written.uid,
            sop_class_uid=MESSAGE_CLASS,
            transfer_syntax=SYNTAX,
            object_key=key,
            size=written.size,
            digest=written.digest,
        )

    async def _hand_over(
        self, unit: UnitOfWork, due: Row[Any], share: Share, instance: ManifestInstance
    ) -> None:
        k = corrected_shares.c
        mine = (k.correction == due.id, k.share == share.id)
        rows = []
        recall = due.kind == "recall"
        for name in where_it_is(share) if recall else listeners_of(self._around.index(), share):
            endpoint = self._around.index().endpoint_for(share.recipient, name)
            delivery = note_delivery(due.id, share, endpoint.name if endpoint else name or "")
            row = {"delivery": delivery, "correction": due.id, "share": share.id}
            if endpoint is None:
                words = f"{share.recipient} has no endpoint {name} in the directory any more"
                rows.append({**row, "state": "unreached", "reason": words})
            elif endpoint.type != "inbox":
                rows.append({**row, "state": "notifying", "reason": ""})
                agreement = self._agreement(share)
                for event in manifest_of_note(share, due.id, endpoint.name, instance, agreement, due.at):
                    unit.publish(event)
        await insert_rows(unit.connection, note_deliveries, rows, conflict="skip")
        under_way = [row for row in rows if row["state"] == "notifying"]
        told = under_way or rows
        values = {name: told[0][name] for name in ("state", "reason")} if told else {"state": "told"}
        if under_way:
            values["delivery"] = under_way[0]["delivery"]
        await unit.connection.execute(update(corrected_shares).where(*mine).values(values))

    def _agreement(self, share: Share) -> str | None:
        """The share's, as long as it can be found: it says how what leaves is changed.

        Where nothing was changed a note that takes images back needs no agreement in force.
        """
        known = self._around.index().agreements_between(share.source, share.recipient)
        found = any(one.id == share.agreement for one in known)
        return share.agreement if found or share.deidentified else None

    async def _raise_notices(self) -> None:
        """Tell both sides of what nobody has acknowledged for too long."""
        now = self._around.clock()
        k, c = corrected_shares.c, corrections.c
        async with self._database.unit() as unit:
            late = (
                await unit.connection.execute(
                    select(corrected_shares, c.source, c.study_uid, c.kind)
                    .join(corrections, c.id == k.correction)
                    .where(k.acknowledged_at.is_(None), k.state != "stopped", k.noticed_at.is_(None))
                    .where(k.at <= now - self._outstanding)
                    .order_by(k.at)
                    .limit(_BATCH)
                    .with_for_update(of=corrected_shares, skip_locked=True)
                )
            ).all()
            if not late:
                return
            repository = Repository(unit.connection)
            shares = await repository.shares_of({(row.source, row.study_uid) for row in late})
            by_id = {share.id: share for share in shares}
            for row in late:
                what = "a recall" if row.kind == "recall" else "a correction"
                words = f"nobody of {row.recipient} has acknowledged {what} since {row.at:%Y-%m-%d}"
                if row.state == "unreached":
                    words += f"; its note could not be delivered: {row.reason}"
                await notices.about_share(unit, "outstanding", by_id[row.share], words, now)
                await unit.connection.execute(
                    update(corrected_shares)
                    .where(k.correction == row.correction, k.share == row.share)
                    .values(noticed_at=now)
                )

    async def _delete(self) -> None:
        """Notes of ours go once nobody waits for them and some time has passed."""
        c, k = corrections.c, corrected_shares.c
        waits = exists().where(k.correction == c.id, k.state.in_(("due", "notifying")))
        async with self._database.unit() as unit:
            rows = await unit.connection.execute(
                select(c.id, c.note_key)
                .where(c.note_sent_by == "imex", c.note_key.is_not(None), c.note_deleted_at.is_(None))
                .where(c.at <= self._around.clock() - self._kept, ~waits)
                .limit(_BATCH)
                .with_for_update(skip_locked=True)
            )
            for row in rows.all():
                try:
                    await self._store.delete(row.note_key)
                except ObjectNotFound:
                    _log.info("a note was gone already", correction=str(row.id))
                await unit.connection.execute(
                    update(corrections).where(c.id == row.id).values(note_deleted_at=func.now())
                )


def manifest_of_note(  # noqa: PLR0917  what it says
    share: Share, correction: Any, endpoint: str, instance: ManifestInstance, agreement: str | None, at: Any
) -> tuple[ManifestIssued, ManifestClosed]:
    """A delivery of one note. Pure."""
    delivery = note_delivery(correction, share, endpoint)
    about: dict[str, Any] = {
        "source": share.source,
        "study_uid": share.study_uid,
        "delivery": delivery,
        "share": share.id,
        "recipient": share.recipient,
        "endpoint": endpoint,
        "lane": share.lane,
    }
    said: dict[str, Any] = {
        "subject": f"delivery/{delivery}",
        "time": at,
        "traceparent": ids.root_traceparent(share.source, share.study_uid),
    }
    issued = ManifestIssued.of(
        id=ids.derived("manifest", str(delivery), "1"),
        data=ManifestIssuedData(
            **about,
            part=1,
            priority=more_urgent(share.current_priority, "urgent"),
            directory_version=share.directory_version,
            agreement=agreement,
            instances=(instance,),
        ),
        **said,
    )
    closed = ManifestClosed.of(
        id=ids.derived("manifest closed", str(delivery), "1"),
        data=ManifestClosedData(**about, revision=1, parts=1, instances=1),
        **said,
    )
    return issued, closed


def _key(due: Row[Any], name: UUID) -> str:
    return f"{NOTES_PREFIX}{due.at:%Y-%m-%d}/{name}"


def _manifest_instance(due: Row[Any], written: dict[str, Any]) -> ManifestInstance:
    return ManifestInstance(
        sop_instance_uid=due.note_uid,
        sop_class_uid=KEY_OBJECT_SELECTION,
        transfer_syntax=due.note_syntax or EXPLICIT,
        object_key=written["key"],
        size=written["size"],
        digest=written["digest"],
    )


def _about(study: Study) -> About:
    return About(
        study_uid=study.study_uid,
        patient_id=study.patient_id,
        issuer=study.issuer,
        patient_name=study.patient_name,
        birth_date=study.birth_date,
        accession=study.accession,
        study_date=study.study_date,
        study_description=study.study_description,
    )
