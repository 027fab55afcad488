"""What is known of instances that a sender asks about, read from the services' tables."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.portal.commitment.decide import Copy, Known, Passed

_AT_A_TIME: Final = 1000

_COPIES = text(
    "SELECT sop_instance_uid, study_uid, digest, judgement FROM validation.judgements"
    " WHERE source = :source AND sop_instance_uid = ANY(:uids)"
    " ORDER BY received_at DESC, event_id DESC"
)
_RECALLED = text(
    "SELECT DISTINCT i.sop_instance_uid FROM routing.corrected_instances i"
    " JOIN routing.corrections c ON c.id = i.correction"
    " WHERE c.source = :source AND c.kind = 'recall' AND i.sop_instance_uid = ANY(:uids)"
)
_CLASSES = text(
    "SELECT sop_instance_uid, digest, sop_class_uid FROM routing.instances"
    " WHERE source = :source AND sop_instance_uid = ANY(:uids)"
    " UNION SELECT sop_instance_uid, digest, sop_class_uid FROM routing.disposed"
    " WHERE source = :source AND study_uid = ANY(:studies) AND sop_instance_uid = ANY(:uids)"
    "   AND sop_class_uid <> ''"
)
_STUDIES = text(
    """
    SELECT st.study_uid, st.stuck IS NOT NULL AS stuck,
           st.disposed_at IS NULL AND st.expired_at IS NULL AND (
               NOT EXISTS (SELECT FROM routing.shares s
                            WHERE s.source = st.source AND s.study_uid = st.study_uid)
               OR EXISTS (SELECT FROM routing.shares s
                           WHERE s.source = st.source AND s.study_uid = st.study_uid
                             AND s.state IN ('requested', 'accepted', 'collecting', 'delivering'))
               OR EXISTS (SELECT FROM routing.shares s JOIN delivery.deliveries d ON d.share = s.id
                           WHERE s.source = st.source AND s.study_uid = st.study_uid
                             AND s.state <> 'revoked' AND (d.state <> 'ended' OR d.receipt_due)))
           AS under_way
      FROM routing.studies st
     WHERE st.source = :source AND st.study_uid = ANY(:studies)
    """
)
# A receipt may be of thousands of instances: each is opened once, for those that are asked about.
_PASSED = text(
    """
    WITH passed AS (
        SELECT d.id, d.recipient, s.state = 'revoked' AS revoked,
               s.deidentified OR d.deidentify IS NOT NULL AS changed
          FROM routing.shares s JOIN delivery.deliveries d ON d.share = s.id
         WHERE s.source = :source AND s.study_uid = ANY(:studies) AND d.source = :source
    ), vouched AS (
        SELECT r.delivery, line ->> 'sop_instance_uid' AS sop_instance_uid, line ->> 'digest' AS digest,
               line ? 'changes' OR line ? 'delivered_digest' AS changed
          FROM passed p
          JOIN LATERAL (SELECT * FROM delivery.receipts r WHERE r.delivery = p.id
                         ORDER BY r.revision DESC LIMIT 1) r ON true,
               jsonb_array_elements(r.document -> 'instances') AS line
         WHERE line ->> 'confirmed_by' = 'commitment' AND line ->> 'status' = 'confirmed'
           AND line ->> 'sop_instance_uid' = ANY(:uids)
    )
    SELECT i.sop_instance_uid, i.digest, i.sop_class_uid, p.revoked, p.recipient,
           i.state = 'confirmed' AND i.confirmation = 'commitment' AS confirmed_so,
           i.state = 'confirmed' AS confirmed, v.delivery IS NOT NULL AS receipt_commits,
           p.changed OR coalesce(v.changed, false) OR i.delivered_digest IS NOT NULL
             OR coalesce(i.sent_uid, i.sop_instance_uid) <> i.sop_instance_uid AS changed
      FROM passed p
      JOIN delivery.instances i ON i.delivery = p.id AND i.sop_instance_uid = ANY(:uids)
      LEFT JOIN vouched v ON v.delivery = p.id AND v.sop_instance_uid = i.sop_instance_uid
                         AND v.digest = i.digest
    """
)
# What has gone to whom under these UIDs, whoever sent it and of whatever study: an archive keeps one of them.
_HANDED = text(
    """
    SELECT d.recipient, h.sop_instance_uid, h.digest
      FROM (SELECT delivery, sop_instance_uid, coalesce(delivered_digest, digest) AS digest
              FROM delivery.instances
             WHERE sop_instance_uid = ANY(:uids) AND coalesce(sent_uid, sop_instance_uid) = sop_instance_uid
               AND (state <> 'waiting' OR attempts > 0)
             UNION ALL
            SELECT delivery, sent_uid, coalesce(delivered_digest, digest)
              FROM delivery.instances
             WHERE sent_uid = ANY(:uids) AND sent_uid <> sop_instance_uid
               AND (state <> 'waiting' OR attempts > 0)) AS h
      JOIN delivery.deliveries d ON d.id = h.delivery
    """
)
# A dead letter counts until what it tells of has been judged after all.
_ASIDE = text(
    """
    SELECT NULL AS sop_instance_uid
     WHERE EXISTS (SELECT FROM validation.parked
                    WHERE substring(key FROM 1 FOR :length) = CAST(:prefix AS bytea))
     UNION ALL
    SELECT u.sop_instance_uid FROM validation.unjudged u
     WHERE u.source = :source
       AND NOT EXISTS (SELECT FROM validation.judgements j WHERE j.event_id = u.event_id)
    """
)


async def put_aside(connection: AsyncConnection, source: str, uids: Sequence[str]) -> set[str]:
    """Those of `uids` of which something may have come in from `source` and was put aside unjudged.

    Of what cannot be read, and of what is parked, nobody knows what it is: then it is all of them.
    """
    prefix = f"{source}/".encode()
    names = {"source": source, "prefix": prefix, "length": len(prefix)}
    aside = set((await connection.execute(_ASIDE, names)).scalars())
    return set(uids) if None in aside else aside.intersection(uids)


async def known(connection: AsyncConnection, source: str, uids: Sequence[str]) -> dict[str, Known]:
    """What is known of instances of `source`, by SOP Instance UID; what is not in it never came in."""
    found: dict[str, Known] = {}
    wanted = sorted(set(uids))
    for start in range(0, len(wanted), _AT_A_TIME):
        found |= await _known(connection, source, wanted[start : start + _AT_A_TIME])
    return found


async def _known(connection: AsyncConnection, source: str, uids: Sequence[str]) -> dict[str, Known]:
    names: dict[str, Any] = {"source": source, "uids": list(uids)}
    copies: dict[str, list[Copy]] = defaultdict(list)
    studies: dict[str, set[str]] = defaultdict(set)
    for row in await connection.execute(_COPIES, names):
        copies[row.sop_instance_uid].append(Copy(row.digest, row.judgement))
        studies[row.sop_instance_uid].add(row.study_uid)
    names["studies"] = sorted({study for each in studies.values() for study in each})
    recalled = set((await connection.execute(_RECALLED, names)).scalars())
    classes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in await connection.execute(_CLASSES, names):
        classes[row.sop_instance_uid, row.digest].add(row.sop_class_uid)
    handed: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in await connection.execute(_HANDED, names):
        handed[row.sop_instance_uid, row.recipient].add(row.digest)
    passed: dict[str, list[Passed]] = defaultdict(list)
    for row in await connection.execute(_PASSED, names):
        classes[row.sop_instance_uid, row.digest].add(row.sop_class_uid)
        passed[row.sop_instance_uid].append(
            Passed(
                digest=row.digest,
                sop_class_uid=row.sop_class_uid,
                confirmed=row.confirmed,
                receipt_commits=row.receipt_commits and row.confirmed_so,
                changed=row.changed,
                revoked=row.revoked,
                rivalled=bool(handed[row.sop_instance_uid, row.recipient] - {row.digest}),
            )
        )
    facts: Mapping[str, Any] = {row.study_uid: row for row in await connection.execute(_STUDIES, names)}
    return {
        uid: Known(
            copies=tuple(ones),
            sop_classes=frozenset(classes.get((uid, ones[0].digest), ())),
            passed=tuple(passed[uid]),
            recalled=uid in recalled,
            stuck=any(facts[study].stuck for study in studies[uid] if study in facts),
            # a study that routing does not know yet was judged just now
            under_way=any(study not in facts or facts[study].under_way for study in studies[uid]),
        )
        for uid, ones in copies.items()
    }
