"""Which instances of its study a share carries: what is handed over, and what its study counts for it.

Most shares carry everything (`imex.sharing.results.extent`). What another leaves out is counted at the share,
so that its completeness, its words and its figures speak of what it carries.
"""

from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.sharing.model import Share, Study
from imex.sharing.results import RESULT_CLASSES, extent

_CLASSES = sorted(RESULT_CLASSES)
_COUNTED = ("validated", "waiting", "discarded", "disputed", "recalled", "bytes")

# whether the recipient has sent the instance itself, now or before its payload was deleted
_OWN = (
    "(EXISTS (SELECT FROM routing.instances o WHERE o.source = :recipient"
    " AND o.sop_instance_uid = i.sop_instance_uid)"
    " OR EXISTS (SELECT FROM routing.disposed o WHERE o.source = :recipient"
    " AND o.study_uid = ANY(CAST(:known_as AS text[])) AND o.sop_instance_uid = i.sop_instance_uid))"
)
_RESULT = "i.sop_class_uid = ANY(CAST(:classes AS text[]))"
LEFT_OUT = (
    f"CASE CAST(:extent AS text) WHEN 'results' THEN NOT {_RESULT} OR {_OWN}"
    f" WHEN 'news' THEN {_RESULT} AND {_OWN} ELSE false END"
)
"""A condition on an instance `i`; its parameters are those of `parameters`."""
# what has been handed over before is carried
_COUNT = text(
    "SELECT count(*) AS validated, count(*) FILTER (WHERE i.disputed) AS disputed,"  # noqa: S608 - a constant
    " count(*) FILTER (WHERE i.recalled) AS recalled, coalesce(sum(i.size), 0)::bigint AS bytes,"
    " (SELECT count(*) FROM routing.held i WHERE i.source = :source AND i.study_uid = :study_uid"
    f"  AND i.state = 'waiting' AND {LEFT_OUT}) AS waiting,"
    " (SELECT count(*) FROM routing.held i WHERE i.source = :source AND i.study_uid = :study_uid"
    f"  AND i.state = 'discarded' AND {LEFT_OUT}) AS discarded"
    " FROM routing.instances i WHERE i.source = :source AND i.study_uid = :study_uid"
    f" AND {LEFT_OUT} AND NOT EXISTS (SELECT FROM routing.share_instances h"
    "  WHERE h.share = :share AND h.sop_instance_uid = i.sop_instance_uid)"
)


def may_leave_out(study: Study, share: Share) -> bool:
    """Whether there can be anything of the study that the share does not carry."""
    kind = extent(share.origin)
    return kind == "results" or (kind == "news" and not study.sop_classes.isdisjoint(RESULT_CLASSES))


def carried(study: Study, share: Share) -> Study:
    """The study as it counts for a share: without what the share leaves out. Pure."""
    if not share.left_out:
        return study
    counts = {name: max(getattr(study, name) - share.left_out.get(name, 0), 0) for name in _COUNTED}
    return replace(study, **counts)


def classes_of(share: Share) -> frozenset[str] | None:
    """The SOP classes that a share carries; None: any."""
    return RESULT_CLASSES if extent(share.origin) == "results" else None


def parameters(share: Share) -> dict[str, Any]:
    """What `LEFT_OUT` asks for."""
    return {
        "extent": extent(share.origin),
        "classes": _CLASSES,
        "recipient": share.recipient,
        "known_as": [uid for uid in (share.study_uid, share.given_study_uid) if uid],
    }


async def counted(connection: AsyncConnection, study: Study, share: Share) -> Share:
    """The share with what it leaves out now; the caller holds the study's lock."""
    if not may_leave_out(study, share):
        return share
    asked = {"share": share.id, "source": share.source, "study_uid": share.study_uid, **parameters(share)}
    row = (await connection.execute(_COUNT, asked)).mappings().one()
    left_out = dict(row) if any(row.values()) else None
    return share if left_out == share.left_out else replace(share, left_out=left_out)
