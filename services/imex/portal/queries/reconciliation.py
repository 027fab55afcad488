"""What became of every instance that validation has judged, in counts.

Everything is counted by (source, SOP Instance UID, digest): the same bytes sent again are one instance.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

PATIENCE_S = 120
"""What was judged longer ago and is unknown to routing counts as unaccounted, not as under way."""

_FATES = text(
    """
    WITH judged AS (
        SELECT source, sop_instance_uid, digest, min(study_uid) AS study_uid, min(judged_at) AS judged_at,
               bool_or(judgement IN ('accepted', 'released')) AS accepted,
               bool_or(judgement = 'discarded') AS discarded,
               bool_or(judgement = 'quarantined') AS quarantined
        FROM validation.judgements
        GROUP BY source, sop_instance_uid, digest
    ), held AS (
        SELECT source, sop_instance_uid, digest,
               bool_or(state = 'waiting') AS waiting, bool_or(state = 'discarded') AS discarded,
               bool_or(state = 'released') AS released, max(decided_at) AS decided_at
        FROM validation.quarantine
        GROUP BY source, sop_instance_uid, digest
    ), shared AS (
        SELECT i.source, i.sop_instance_uid, i.digest, bool_or(st.expired_at IS NOT NULL) AS study_expired,
               count(s.id) AS shares, bool_and(i.gone) AS gone,
               bool_or(s.state NOT IN ('refused', 'failed', 'cancelled', 'revoked', 'expired')
                       AND coalesce(si.state, 'waiting') <> 'confirmed' AND NOT i.recalled) AS under_way,
               bool_or(i.recalled) AS recalled,
               bool_or(si.state = 'confirmed') AS confirmed,
               bool_or(s.state = 'failed') AS failed,
               bool_or(s.state = 'expired') AS expired,
               bool_or(s.state IN ('cancelled', 'revoked')) AS cancelled
        FROM (SELECT source, study_uid, sop_instance_uid, digest, recalled, false AS gone
              FROM routing.instances
              UNION SELECT source, study_uid, sop_instance_uid, digest, false, true FROM routing.disposed) i
        LEFT JOIN routing.studies st ON st.source = i.source AND st.study_uid = i.study_uid
        LEFT JOIN routing.shares s ON s.source = i.source AND s.study_uid = i.study_uid
              AND NOT (s.left_out IS NOT NULL AND s.complete AND NOT EXISTS (
                  SELECT FROM routing.share_instances c
                  WHERE c.share = s.id AND c.sop_instance_uid = i.sop_instance_uid))
        LEFT JOIN routing.share_instances si
               ON si.share = s.id AND si.sop_instance_uid = i.sop_instance_uid
        GROUP BY i.source, i.sop_instance_uid, i.digest
    ), fates AS (
        SELECT j.source, j.study_uid, j.sop_instance_uid,
            CASE
                WHEN r.source IS NOT NULL THEN CASE
                    WHEN r.shares = 0 AND (r.study_expired OR r.gone) THEN 'expired'
                    WHEN r.shares = 0 THEN 'unaddressed'
                    WHEN r.under_way THEN 'under way'
                    WHEN r.confirmed THEN 'delivered'
                    WHEN r.recalled THEN 'recalled'
                    WHEN r.failed THEN 'failed'
                    WHEN r.expired THEN 'expired'
                    WHEN r.cancelled THEN 'cancelled'
                    ELSE 'refused' END
                WHEN h.waiting OR (j.quarantined AND h.source IS NULL) THEN 'quarantined'
                WHEN (h.discarded OR j.discarded) AND NOT coalesce(h.released, false) THEN 'discarded'
                WHEN greatest(j.judged_at, h.decided_at) > now() - make_interval(secs => :patience)
                    THEN 'under way'
                ELSE 'unaccounted' END AS fate
        FROM judged j
        LEFT JOIN held h USING (source, sop_instance_uid, digest)
        LEFT JOIN shared r USING (source, sop_instance_uid, digest)
    )
    SELECT fate, count(*) AS instances,
           (array_agg(ARRAY[source, study_uid, sop_instance_uid] ORDER BY source, sop_instance_uid)
            FILTER (WHERE fate = 'unaccounted'))[1:1000] AS named
    FROM fates GROUP BY fate
    """
)
_EVENTS = text("SELECT event_id FROM validation.judgements")
_SETTLED = text(
    "SELECT event_id FROM validation.judgements WHERE judged_at < now() - make_interval(secs => :patience)"
)
_PARKED = text('SELECT topic, "partition", "offset" FROM validation.parked')


@dataclass(frozen=True, slots=True)
class Unaccounted:
    """An instance that was acknowledged and is nowhere."""

    source: str
    study_uid: str
    sop_instance_uid: str
    lost_after: str


async def fates(connection: AsyncConnection) -> tuple[dict[str, int], list[Unaccounted]]:
    """How many instances had which fate, and those that are nowhere (1000 of them at most)."""
    counts: dict[str, int] = {}
    nowhere: list[Unaccounted] = []
    for row in await connection.execute(_FATES, {"patience": PATIENCE_S}):
        counts[row.fate] = row.instances
        nowhere += [Unaccounted(one[0], one[1], one[2], "validation") for one in row.named or ()]
    return counts, nowhere


async def judged(connection: AsyncConnection) -> tuple[set[UUID], set[UUID]]:
    """Ids of the instance.received that have been judged, and of those judged a while ago."""
    every = set((await connection.execute(_EVENTS)).scalars())
    settled = set((await connection.execute(_SETTLED, {"patience": PATIENCE_S})).scalars())
    return every, settled


async def parked(connection: AsyncConnection) -> set[tuple[str, int, int]]:
    """Records that validation has set aside for a time."""
    return {tuple(row) for row in await connection.execute(_PARKED)}
