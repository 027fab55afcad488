"""Parts of manifests into rows: any number of them, of any number of deliveries, in one statement."""

from collections.abc import Sequence
from typing import Any, Final, get_args
from uuid import UUID

from sqlalchemy import text

from imex.db import UnitOfWork
from imex.delivery.decide import LIFETIME
from imex.delivery.jobs import Instance
from imex.events import Priority
from imex.events.manifests import ManifestInstance, ManifestIssuedData

# What an issue does to a delivery that is there already: a part beyond those that closed it opens its
# manifest again; and it is due, unless it runs, is stopped, or waits for a destination that fails.
_ISSUE = text(
    """
    WITH issued AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:shares AS uuid[]), CAST(:sources AS text[]),
                             CAST(:studies AS text[]), CAST(:recipients AS text[]),
                             CAST(:endpoints AS text[]), CAST(:lanes AS text[]),
                             CAST(:priorities AS text[]), CAST(:versions AS text[]), CAST(:lasts AS int[]),
                             CAST(:agreements AS text[]))
               AS v(id, share, source, study_uid, recipient, endpoint, lane, priority, version, last,
                    agreement)
    ), known AS (
        INSERT INTO delivery.deliveries AS d
               (id, share, source, study_uid, recipient, endpoint, lane, priority, directory_version,
                agreement, state, next_attempt_at, expires_at)
        SELECT id, share, source, study_uid, recipient, endpoint, lane, priority, version,
               agreement, 'waiting', now(), now() + CAST(:lifetime AS interval)
          FROM issued
        ON CONFLICT (id) DO UPDATE
           SET priority = CASE  -- a part that comes late, or again, makes nothing less urgent
                   WHEN array_position(CAST(:priorities_known AS text[]), excluded.priority)
                        > array_position(CAST(:priorities_known AS text[]), d.priority)
                   THEN excluded.priority ELSE d.priority END,
               directory_version = excluded.directory_version,
               agreement = coalesce(excluded.agreement, d.agreement),
               parts = CASE WHEN d.parts < (SELECT last FROM issued WHERE issued.id = d.id) THEN NULL
                            ELSE d.parts END,
               state = CASE WHEN d.withdrawn OR d.cancelled OR d.state = 'running' THEN d.state
                            ELSE 'waiting' END,
               only_to_settle = false,
               outcome = CASE WHEN d.withdrawn OR d.cancelled OR d.state = 'running' THEN d.outcome END,
               next_attempt_at =
                   CASE WHEN d.withdrawn OR d.cancelled OR d.state = 'running'
                          OR (d.state = 'waiting' AND d.failures > 0) THEN d.next_attempt_at
                        ELSE now() END,
               expires_at = CASE WHEN d.state = 'ended' AND NOT d.withdrawn AND NOT d.cancelled
                                 THEN excluded.expires_at ELSE d.expires_at END
    ), place AS (
        INSERT INTO delivery.destinations (recipient, endpoint)
        SELECT DISTINCT recipient, endpoint FROM issued ORDER BY recipient, endpoint ON CONFLICT DO NOTHING
    ), queue AS (
        INSERT INTO delivery.queues (recipient, endpoint, source)
        SELECT DISTINCT recipient, endpoint, source FROM issued ORDER BY recipient, endpoint, source
        ON CONFLICT DO NOTHING
    ), come AS (
        INSERT INTO delivery.parts (delivery, part)
        SELECT * FROM unnest(CAST(:part_deliveries AS uuid[]), CAST(:parts AS int[]))
        ON CONFLICT DO NOTHING
    )
    INSERT INTO delivery.instances AS i
           (delivery, sop_instance_uid, part, sop_class_uid, transfer_syntax, object_key, size, digest)
    SELECT * FROM unnest(CAST(:deliveries AS uuid[]), CAST(:uids AS text[]), CAST(:places AS int[]),
                         CAST(:classes AS text[]), CAST(:syntaxes AS text[]), CAST(:keys AS text[]),
                         CAST(:sizes AS bigint[]), CAST(:digests AS text[]))
    ON CONFLICT (delivery, sop_instance_uid) DO UPDATE
       SET part = excluded.part, sop_class_uid = excluded.sop_class_uid,
           transfer_syntax = excluded.transfer_syntax, object_key = excluded.object_key,
           size = excluded.size, digest = excluded.digest,
           state = 'waiting', status = NULL, reason = '', attempts = 0
     -- what a destination has confirmed stays what was delivered
     WHERE i.digest <> excluded.digest AND i.state NOT IN ('confirmed', 'sent')
    RETURNING delivery, sop_instance_uid
    """
)


NO_PART: Final = 0
"""Parts count from 1: this one makes a delivery known and due, and none of its manifest has come with it."""


async def issue(unit: UnitOfWork, parts: Sequence[ManifestIssuedData]) -> dict[UUID, list[Instance]]:
    """Write parts, and make their deliveries due; what there is to send now that was not before."""
    # one statement must not name a row twice; in one order, so that two batches wait in one direction only
    newest = {data.delivery: data for data in parts}
    about = [newest[delivery] for delivery in sorted(newest)]
    last = {data.delivery: 0 for data in parts}
    listed: dict[tuple[UUID, str], tuple[int, ManifestInstance]] = {}
    for data in parts:
        last[data.delivery] = max(last[data.delivery], data.part)
        for one in data.instances:
            listed[data.delivery, one.sop_instance_uid] = (data.part, one)
    rows = await unit.connection.execute(
        _ISSUE,
        {
            "lifetime": LIFETIME,
            "priorities_known": list(get_args(Priority)),
            "ids": [data.delivery for data in about],
            "shares": [data.share for data in about],
            "sources": [data.source for data in about],
            "studies": [data.study_uid for data in about],
            "recipients": [data.recipient for data in about],
            "endpoints": [data.endpoint for data in about],
            "lanes": [str(data.lane) for data in about],
            "priorities": [str(data.priority) for data in about],
            "versions": [data.directory_version for data in about],
            "lasts": [last[data.delivery] for data in about],
            "agreements": [data.agreement for data in about],
            "part_deliveries": [data.delivery for data in parts if data.part != NO_PART],
            "parts": [data.part for data in parts if data.part != NO_PART],
            **_columns(listed),
        },
    )
    new: dict[UUID, list[Instance]] = {data.delivery: [] for data in about}
    for row in rows:
        new[row.delivery].append(_instance(listed[row.delivery, row.sop_instance_uid][1]))
    return new


def _columns(listed: dict[tuple[UUID, str], tuple[int, ManifestInstance]]) -> dict[str, list[Any]]:
    ones = [one for _, one in listed.values()]
    return {
        "deliveries": [delivery for delivery, _ in listed],
        "uids": [one.sop_instance_uid for one in ones],
        "places": [part for part, _ in listed.values()],
        "classes": [one.sop_class_uid for one in ones],
        "syntaxes": [one.transfer_syntax for one in ones],
        "keys": [one.object_key for one in ones],
        "sizes": [one.size for one in ones],
        "digests": [one.digest for one in ones],
    }


def _instance(one: ManifestInstance) -> Instance:
    return Instance(
        one.sop_instance_uid, one.sop_class_uid, one.transfer_syntax, one.object_key, one.size, one.digest, 0
    )
