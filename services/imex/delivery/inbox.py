"""Recording what lies in inboxes, in one transaction with the outcomes that say so."""

from collections.abc import Sequence

from sqlalchemy import text

from imex.db import UnitOfWork
from imex.delivery.jobs import Job, Outcome

_SHARE = text(
    "INSERT INTO delivery.inbox_shares (share, delivery, recipient, endpoint, at)"
    " VALUES (:share, :delivery, :recipient, :endpoint, :at) ON CONFLICT (share) DO NOTHING"
)
_INSTANCES = text(
    "INSERT INTO delivery.inbox_instances (share, sop_instance_uid, digest, given_sop_instance_uid,"
    " sop_class_uid, transfer_syntax, object_key, own, size, given_digest, at)"
    " SELECT :share, * FROM unnest(CAST(:uids AS text[]), CAST(:digests AS text[]), CAST(:given AS text[]),"
    " CAST(:classes AS text[]), CAST(:syntaxes AS text[]), CAST(:keys AS text[]), CAST(:own AS boolean[]),"
    " CAST(:sizes AS bigint[]), CAST(:given_digests AS text[]), CAST(:ats AS timestamptz[]))"
    " ON CONFLICT (share, sop_instance_uid) DO UPDATE SET digest = excluded.digest,"
    " given_sop_instance_uid = excluded.given_sop_instance_uid, sop_class_uid = excluded.sop_class_uid,"
    " transfer_syntax = excluded.transfer_syntax, object_key = excluded.object_key, own = excluded.own,"
    " size = excluded.size, given_digest = excluded.given_digest, at = excluded.at"
)


async def note_placed(unit: UnitOfWork, job: Job, outcomes: Sequence[Outcome]) -> None:
    """Record where readers find what these outcomes placed; the others are passed over."""
    placed = [(one.instance, one.answer.placed, one.at) for one in outcomes if one.answer.placed is not None]
    if not placed:
        return
    await unit.connection.execute(
        _SHARE,
        {
            "share": job.share,
            "delivery": job.id,
            "recipient": job.recipient,
            "endpoint": job.endpoint,
            "at": min(at for _, _, at in placed),
        },
    )
    await unit.connection.execute(
        _INSTANCES,
        {
            "share": job.share,
            "uids": [instance.sop_instance_uid for instance, _, _ in placed],
            "digests": [instance.digest for instance, _, _ in placed],
            "given": [where.sop_instance_uid for _, where, _ in placed],
            "classes": [instance.sop_class_uid for instance, _, _ in placed],
            "syntaxes": [instance.transfer_syntax for instance, _, _ in placed],
            "keys": [where.object_key for _, where, _ in placed],
            "own": [where.own for _, where, _ in placed],
            "sizes": [where.size for _, where, _ in placed],
            "given_digests": [where.digest for _, where, _ in placed],
            "ats": [at for _, _, at in placed],
        },
    )
