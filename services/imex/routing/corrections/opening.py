"""Opening a correction: what has not left stops, and everybody whom it concerns is listed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text, update

from imex.db import UnitOfWork
from imex.db.bulk import insert_rows
from imex.db.tables.routing import corrected_instances, corrected_shares, corrections
from imex.dicom.rejection import MOST_REFERENCES, TITLES, Reference, uid_of
from imex.directory import DirectoryIndex
from imex.directory.model import hl7_name
from imex.events import ids
from imex.events.audit import AuditAction, AuditRecorded
from imex.events.manifests import HeldInstance
from imex.routing import publish
from imex.routing.corrections.decide import (
    NO_NOTE_THERE,
    TOO_MANY,
    Concern,
    Kind,
    concern,
    goes_with_share,
    is_whole,
)
from imex.routing.docket import Docket
from imex.routing.handover import HandOver
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.states import Fact, transition
from imex.sharing.model import Share, Study

_KNOWN = text(
    "SELECT sop_instance_uid, sop_class_uid, series_uid FROM routing.instances"
    " WHERE source = :source AND study_uid = :study_uid"
    " UNION SELECT sop_instance_uid, sop_class_uid, series_uid FROM routing.disposed"
    " WHERE source = :source AND study_uid = :study_uid AND series_uid <> '' AND NOT EXISTS (SELECT 1"
    "  FROM routing.instances i WHERE i.source = :source AND i.sop_instance_uid = disposed.sop_instance_uid)"
)
_RECALL = text(
    "UPDATE routing.instances SET disputed = true, recalled = true WHERE source = :source"
    " AND study_uid = :study_uid AND sop_instance_uid = ANY(CAST(:uids AS text[]))"
)


@dataclass(frozen=True, slots=True)
class Correction:
    """What is wrong, as whoever opened it says."""

    id: UUID
    kind: Kind
    actor: str
    institution: str | None
    reason: str = ""
    code: str | None = None
    instances: frozenset[str] = frozenset()
    """SOP Instance UIDs that are taken back; empty: all."""
    personal: Mapping[str, Any] | None = None
    """Sealed."""
    heard: bool = False
    """Of the source's own note, whose row is there already."""
    note_uid: str | None = None
    """Of the source's own note."""

    @property
    def words(self) -> str:
        """Why, for people; without patient data."""
        coded = next((name.lower() for code, name in TITLES.items() if code == self.code), "")
        return ": ".join(part for part in (coded, self.reason) if part)


class CannotCorrect(Exception):
    """Nothing is opened; the words say why."""


class Opening:
    """Opens corrections of the studies in hand."""

    def __init__(
        self, unit: UnitOfWork, repository: Repository, docket: Docket, index: DirectoryIndex
    ) -> None:
        """`docket` holds every share of the studies; `index` says which endpoints are inboxes."""
        self._unit = unit
        self._repository = repository
        self._docket = docket
        self._index = index
        self._hand_over = HandOver(unit, repository, docket, index)

    async def open(self, study: Study, asked: Correction, cause: Cause) -> Study:
        """The study after it.

        Raises:
            CannotCorrect: there is nothing of what is to be corrected.
        """
        references: Sequence[Reference] = ()
        whole = False
        if asked.kind == "recall":
            references, whole = await self._references(study, asked)
            study = await self._take_back(study, references, asked, whole=whole)
        shares = self._docket.of(study)
        if asked.kind != "recall" and not any(share.parts for share in shares):
            raise CannotCorrect("nothing of this study has been delivered to anybody")
        note = bool(references) and len(references) <= MOST_REFERENCES
        await self._put(study, asked, references, cause, whole=whole, note=note)
        concerned = []
        for share in shares:
            inbox = self._is_inbox(share)
            state = concern(
                share, asked.kind, inbox=inbox, note=note, listener=bool(listeners_of(self._index, share))
            )
            if state is None:
                continue
            await self._tell(study, share, asked, references, cause, whole=whole)
            concerned.append(self._row(share, asked, state, cause, inbox=inbox, note=note))
        await insert_rows(self._unit.connection, corrected_shares, concerned, conflict="skip")
        return study

    async def _references(self, study: Study, asked: Correction) -> tuple[list[Reference], bool]:
        rows = await self._unit.connection.execute(
            _KNOWN, {"source": study.source, "study_uid": study.study_uid}
        )
        known = {row.sop_instance_uid: Reference(*row) for row in rows}
        if not known:
            raise CannotCorrect("no instance of this study was ever accepted")
        if (missing := len(asked.instances - known.keys())) and not asked.heard:
            raise CannotCorrect(f"{missing} of the instances are none of this study's")
        wanted = sorted(asked.instances & known.keys()) or sorted(known)
        if asked.instances and not asked.instances & known.keys():
            raise CannotCorrect("none of the instances is of this study")
        whole = not asked.instances or is_whole(wanted, known, asked.note_uid)
        if whole and asked.note_uid in known:
            # nothing goes again, and neither does the note by itself
            wanted = sorted({*wanted, str(asked.note_uid)})
        return [known[uid] for uid in wanted], whole

    async def _take_back(
        self, study: Study, references: Collection[Reference], asked: Correction, *, whole: bool
    ) -> Study:
        uids = [one.sop_instance_uid for one in references]
        names = {"source": study.source, "study_uid": study.study_uid, "uids": uids}
        await self._unit.connection.execute(_RECALL, names)
        counts = await self._repository.disputed([study.key])
        disputed, recalled = counts.get(study.key, (0, 0))
        return replace(study, disputed=disputed, recalled=recalled)

    async def _put(
        self,
        study: Study,
        asked: Correction,
        references: Collection[Reference],
        cause: Cause,
        *,
        whole: bool,
        note: bool,
    ) -> None:
        if asked.heard:
            await self._unit.connection.execute(
                update(corrections).where(corrections.c.id == asked.id).values(state="open", whole=whole)
            )
        else:
            row = {
                "id": asked.id,
                "source": study.source,
                "study_uid": study.study_uid,
                "kind": asked.kind,
                "code": asked.code,
                "whole": whole,
                "reason": asked.reason,
                **({"personal": dict(asked.personal)} if asked.personal is not None else {}),
                "actor": asked.actor,
                "actor_institution": asked.institution,
                "state": "open",
                "at": cause.at,
                "note_uid": uid_of(note_name(asked.id)) if note else None,
                "note_sent_by": "imex" if note else None,
            }
            await insert_rows(self._unit.connection, corrections, [row], conflict="skip")
        rows = [
            {
                "correction": asked.id,
                "sop_instance_uid": one.sop_instance_uid,
                "series_uid": one.series_uid,
                "sop_class_uid": one.sop_class_uid,
            }
            for one in references
            if one.sop_instance_uid != asked.note_uid
        ]
        await insert_rows(self._unit.connection, corrected_instances, rows, conflict="skip")

    def _is_inbox(self, share: Share) -> bool:
        """Whether no endpoint that has some of it takes a note."""
        endpoints = [self._index.endpoint_for(share.recipient, name) for name in where_it_is(share)]
        return all(endpoint is not None and endpoint.type == "inbox" for endpoint in endpoints)

    async def _tell(
        self,
        study: Study,
        share: Share,
        asked: Correction,
        references: Collection[Reference],
        cause: Cause,
        *,
        whole: bool,
    ) -> None:
        if asked.kind != "recall":
            self._docket.note(share, "corrected", cause, reason=f"{_KINDS[asked.kind]}: {asked.reason}")
            more: dict[str, Any] = {"correction": asked.id, "correction_kind": asked.kind}
            share = self._docket.announce(share, "corrected", cause, {**more, "reason": asked.reason})
            self._unit.publish(_audited(share, "share_corrected", asked, cause))
            return
        words = f"recalled: {asked.words}"
        count = len(references)
        named = "all of it" if whole else f"{count} instance{'' if count == 1 else 's'}"
        self._docket.note(share, "recalled", cause, reason=words, details={"recalled": named})
        if whole and transition(share.state, Fact.TAKEN_BACK) is not None:
            share = self._docket.move(share, Fact.TAKEN_BACK, cause, reason=words)
        elif not whole and share.parts and (share.live or _may_resume(share)):
            share = await self._withhold(study, share, asked, references, cause)
        told = {
            "correction": asked.id,
            "code": asked.code,
            "whole": whole,
            "reason": asked.words,
            "note_sop_instance_uid": None if share.deidentified else _note_uid(asked),
        }
        share = self._docket.announce(share, "recalled", cause, told)
        self._unit.publish(_audited(share, "share_recalled", asked, cause))

    async def _withhold(
        self,
        study: Study,
        share: Share,
        asked: Correction,
        references: Collection[Reference],
        cause: Cause,
    ) -> Share:
        """What of it has not been sent is not sent; the rest goes on."""
        held = [
            HeldInstance(
                quarantine=ids.derived("recalled", str(asked.id), one.sop_instance_uid),
                sop_instance_uid=one.sop_instance_uid,
                became="held",
                disputes=True,
                reason=f"recalled by {share.source}: {asked.words}",
                at=cause.at,
            )
            for one in references
            if one.sop_instance_uid != asked.note_uid
        ]
        for event in publish.manifest_annotated(share, held, cause, early=True):
            self._unit.publish(event)
        if share.live and share.complete and share.confirmed < share.handed:
            # delivery settles what is left, and writes a receipt that names what is not sent
            return await self._hand_over.close(share, cause)
        return share

    def _row(
        self, share: Share, asked: Correction, state: Concern, cause: Cause, *, inbox: bool, note: bool
    ) -> dict[str, Any]:
        reason = ""
        if asked.kind == "recall" and state == "told":
            reason = NO_NOTE_THERE if inbox else TOO_MANY
        now = self._docket.get(share.id) or share  # it may just have been revoked
        by_itself = state == "due" and goes_with_share(now, sent_by_source=asked.heard) and not elsewhere(now)
        return {
            "correction": asked.id,
            "share": share.id,
            "recipient": share.recipient,
            "state": "notifying" if by_itself else state,
            "reason": reason,
            "at": cause.at,
        }


def _may_resume(share: Share) -> bool:
    """It has failed, and goes on when a person has it tried again: without what is recalled."""
    return share.state == "failed" and share.disposed_at is None


_KINDS: Mapping[Kind, Literal["wrong demographics", "patients merged", "recalled"]] = {
    "recall": "recalled",
    "demographics": "wrong demographics",
    "merge": "patients merged",
}


def note_name(correction: UUID) -> UUID:
    """What the UID of Imex's own note is made of."""
    return ids.derived("rejection note", str(correction))


def note_delivery(correction: UUID, share: Share, endpoint: str) -> UUID:
    """The delivery that carries a note alone to an endpoint."""
    elsewhere = () if endpoint == (share.endpoint or endpoint) else (endpoint,)
    return ids.derived("note delivery", str(correction), str(share.id), *elsewhere)


def elsewhere(share: Share) -> bool:
    """Whether an endpoint has some of it to which nothing more of it goes."""
    return len(share.reached) > 1


def where_it_is(share: Share) -> tuple[str | None, ...]:
    """The endpoints that have images of it or are about to; while none has, the one it was meant for."""
    return share.reached or (share.endpoint,)


def listeners_of(index: DirectoryIndex, share: Share) -> list[str]:
    """HL7 listeners of the endpoints that have images of it, by name.

    Not of one that wants the recipient's own identifiers: the source's say nothing there.
    """
    found = []
    for name in where_it_is(share):
        endpoint = index.endpoint_for(share.recipient, name)
        if endpoint is None or endpoint.identity.patient_id == "map":
            continue
        if index.endpoint_for(share.recipient, hl7_name(endpoint.name)) is not None:
            found.append(hl7_name(endpoint.name))
    return found


def _note_uid(asked: Correction) -> str:
    return asked.note_uid or uid_of(note_name(asked.id))


def _audited(share: Share, action: AuditAction, asked: Correction, cause: Cause) -> AuditRecorded:
    return publish.share_audited(
        share,
        action,
        cause,
        agreement=share.agreement,
        reason=asked.words or asked.reason,
        details={"correction": str(asked.id), "kind": asked.kind},
    )
