"""Giving up studies' payloads: what was accepted is forgotten, and the objects are to be deleted."""
# ruff: noqa: S608  statements are made of constants of this file alone

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Studies = Mapping[str, Sequence[str]]
"""`sources` and `uids`, in step."""

_KEYS = "unnest(CAST(:sources AS text[]), CAST(:uids AS text[])) AS k(source, study_uid)"
# by the judgements, which are found by study: accepted instances are not
_FORGET = text(
    "DELETE FROM validation.instances i USING (SELECT DISTINCT t.source, t.study_uid, t.sop_instance_uid"
    f"  FROM validation.judgements t, {_KEYS} WHERE t.source = k.source AND t.study_uid = k.study_uid) j"
    " WHERE i.source = j.source AND i.study_uid = j.study_uid AND i.sop_instance_uid = j.sop_instance_uid"
)
_GIVE_UP = text(
    f"WITH given AS (UPDATE validation.judgements t SET disposed_at = now() FROM {_KEYS}"
    "  WHERE t.source = k.source AND t.study_uid = k.study_uid AND t.disposed_at IS NULL"
    "  RETURNING t.object_key),"
    " put AS (INSERT INTO validation.disposals (object_key) SELECT object_key FROM given"
    "  ON CONFLICT DO NOTHING)"
    " SELECT count(*) FROM given"
)


async def forget(connection: AsyncConnection, studies: Studies) -> None:
    """Forget which bytes were accepted: what comes again is new."""
    await connection.execute(_FORGET, dict(studies))


async def give_up(connection: AsyncConnection, studies: Studies) -> int:
    """Have every payload deleted that is not yet; how many."""
    return int(await connection.scalar(_GIVE_UP, dict(studies)) or 0)
