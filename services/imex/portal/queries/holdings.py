"""Which studies and images a caller may find and retrieve: its own, and what has been shared with it.

Of what was shared: what was handed over to its delivery, as it was handed over, while the share is readable
and an agreement in force still covers it. Never what waits in quarantine, is disputed, or whose payload is
gone; and nothing of a de-identified share, whose recipient must not learn how the source knows the study.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    null,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.routing import instances, share_instances, shares, studies
from imex.directory import Directory
from imex.directory.index import local_time
from imex.portal.queries.inbox import READABLE
from imex.portal.queries.veil import unveiled
from imex.portal.scope import Scope


@dataclass(frozen=True, slots=True)
class HeldStudy:
    """A study of which the caller may retrieve something; counts and modalities are of that alone."""

    source: str
    study_uid: str
    facts: Mapping[str, Any]
    series: int
    images: int
    modalities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeldInstance:
    """An image that the caller may retrieve; `share` by which, None where it is its own."""

    source: str
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax: str
    modality: str
    object_key: str
    size: int
    digest: str
    received_at: datetime
    share: UUID | None


class Covered:
    """What agreements still let be handed to an institution: from whom, under which, for what."""

    def __init__(self, directory: Directory, institution: str, at: datetime) -> None:
        """Agreements in force at a moment; one that asks for de-identification hands out no original."""
        day: date = local_time(at).date()
        groups = {group.code: tuple(group.members) for group in directory.groups}
        self._triples = [
            (source, agreement.id, purpose)
            for agreement in directory.agreements
            if institution in _spelt(agreement.to, groups)
            and agreement.deidentify is None
            and (agreement.valid_from is None or agreement.valid_from <= day)
            and (agreement.valid_until is None or day <= agreement.valid_until)
            for source in _spelt(agreement.from_, groups)
            for purpose in agreement.purposes
        ]

    def condition(self) -> ColumnElement[bool]:
        """Of a row of `shares`."""
        if not self._triples:
            return false()
        return tuple_(shares.c.source, shares.c.agreement, shares.c.purpose).in_(self._triples)


def _spelt(codes: Iterable[str], groups: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Institutions, from their codes and those of groups."""
    return {one for code in codes for one in groups.get(code, (code,))}


@dataclass(frozen=True, slots=True)
class View:
    """What one caller may see now."""

    scope: Scope
    covered: Covered | None
    """None for who sees everything."""

    def shared(self) -> ColumnElement[bool]:
        """Rows of `shares` whose images the caller may have."""
        if self.scope.institution is None or self.covered is None:
            return false()
        return and_(
            shares.c.recipient == self.scope.institution,
            shares.c.state.in_(READABLE),
            shares.c.disposed_at.is_(None),
            shares.c.agreement.is_not(None),
            unveiled(self.scope),
            self.covered.condition(),
        )

    def of_study(self) -> ColumnElement[bool]:
        """Rows of `studies` of which the caller may retrieve something."""
        s = studies.c
        own = exists().where(
            instances.c.source == s.source, instances.c.study_uid == s.study_uid, ~instances.c.disputed
        )
        handed = (
            select(literal(1))
            .select_from(shares.join(share_instances, share_instances.c.share == shares.c.id))
            .where(shares.c.source == s.source, shares.c.study_uid == s.study_uid, self.shared())
            .where(share_instances.c.part.is_not(None))
            .correlate(studies)
            .exists()
        )
        mine = and_(self.scope.own(s.source), own)
        return and_(s.disposed_at.is_(None), mine if self.covered is None else mine | handed)

    def of_instances(self) -> Select[Any]:
        """Every image that the caller may have, each once: its own rather than one shared with it."""
        i, si = instances.c, share_instances.c
        what = [
            i.source,
            i.study_uid,
            i.series_uid,
            i.sop_instance_uid,
            i.sop_class_uid,
            i.transfer_syntax,
            i.modality,
            i.object_key,
            i.size,
            i.digest,
            i.received_at,
        ]
        own = select(*what, null().label("share")).where(self.scope.own(i.source), ~i.disputed)
        if self.covered is None:
            return own
        handed = (
            select(*what, shares.c.id.label("share"))
            .select_from(
                shares.join(share_instances, si.share == shares.c.id).join(
                    instances,
                    and_(i.source == shares.c.source, i.sop_instance_uid == si.sop_instance_uid),
                )
            )
            # other bytes that took its place later are not what was shared
            .where(self.shared(), si.part.is_not(None), si.digest == i.digest, ~i.disputed)
            .where(i.study_uid == shares.c.study_uid)
        )
        every = union_all(own, handed).subquery()
        return select(every)


def view_of(scope: Scope, directory: Directory, at: datetime) -> View:
    """What a caller may see under the directory in force."""
    if scope.institution is None:
        return View(scope, None)
    return View(scope, Covered(directory, scope.institution, at))


class Fits(Protocol):
    """What studies are searched by."""

    @property
    def conditions(self) -> Sequence[ColumnElement[bool]]:
        """Of rows of `studies`."""

    @property
    def modalities(self) -> Sequence[str]:
        """One of which an image has to have; empty does not narrow it."""


async def found_studies(
    connection: AsyncConnection,
    view: View,
    fits: Fits,
    *,
    limit: int,
    offset: int = 0,
) -> list[HeldStudy]:
    """Studies that fit, the last to come in first; each UID once, also where two institutions sent it."""
    s = studies.c
    mine = case((s.source == (view.scope.institution or ""), 0), else_=1)
    turn = func.row_number().over(partition_by=s.study_uid, order_by=(mine, s.source)).label("turn")
    narrowed = [*fits.conditions, *_with(view, fits.modalities)]
    fitting = select(studies, turn).where(view.of_study(), *narrowed).subquery()
    query = (
        select(fitting)
        .where(fitting.c.turn == 1)
        .order_by(fitting.c.first_received_at.desc(), fitting.c.source, fitting.c.study_uid)
        .limit(limit)
        .offset(offset)
    )
    rows = (await connection.execute(query)).mappings().all()
    counts = await _counted(connection, view, [(row["source"], row["study_uid"]) for row in rows])
    return [
        HeldStudy(row["source"], row["study_uid"], dict(row), *counts[row["study_uid"]])
        for row in rows
        if row["study_uid"] in counts
    ]


def _with(view: View, modalities: Sequence[str]) -> list[ColumnElement[bool]]:
    """Of a row of `studies`: an image that the caller may see has one of these."""
    if not modalities:
        return []
    s, every = studies.c, view.of_instances().subquery().c
    return [
        exists().where(
            every.source == s.source, every.study_uid == s.study_uid, every.modality.in_(list(modalities))
        )
    ]


async def _counted(
    connection: AsyncConnection, view: View, about: Sequence[tuple[str, str]]
) -> dict[str, tuple[int, int, tuple[str, ...]]]:
    """Series, images and modalities by study UID."""
    if not about:
        return {}
    every = view.of_instances().subquery().c
    query = (
        select(
            every.study_uid,
            func.count(every.series_uid.distinct()),
            func.count(every.sop_instance_uid.distinct()),
            func.array_agg(every.modality.distinct()),
        )
        .where(tuple_(every.source, every.study_uid).in_(list(about)))
        .group_by(every.study_uid)
    )
    return {
        uid: (series, images, tuple(filter(None, modalities)))
        for uid, series, images, modalities in await connection.execute(query)
    }


async def sources_of(connection: AsyncConnection, view: View, study_uid: str) -> list[tuple[str, str]]:
    """The institutions that sent a study, with its UID, as far as the caller may see."""
    s = studies.c
    query = select(s.source, s.study_uid).where(s.study_uid == study_uid, view.of_study())
    return [(row.source, row.study_uid) for row in await connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Narrow:
    """Which images of studies (source and UID) are meant; what is None or empty does not narrow it."""

    about: Sequence[tuple[str, str]]
    series_uid: str | None = None
    sop_instance_uid: str | None = None
    sop_class_uids: Sequence[str] = ()
    modality: str | None = None
    series_uids: Sequence[str] = ()
    sop_instance_uids: Sequence[str] = ()

    def tests(self, e: Any) -> list[ColumnElement[bool]]:
        """Of rows of `View.of_instances`."""
        found: list[ColumnElement[bool]] = [tuple_(e.source, e.study_uid).in_(list(self.about))]
        if self.series_uid is not None:
            found.append(e.series_uid == self.series_uid)
        if self.sop_instance_uid is not None:
            found.append(e.sop_instance_uid == self.sop_instance_uid)
        if self.sop_class_uids:
            found.append(e.sop_class_uid.in_(list(self.sop_class_uids)))
        if self.series_uids:
            found.append(e.series_uid.in_(list(self.series_uids)))
        if self.sop_instance_uids:
            found.append(e.sop_instance_uid.in_(list(self.sop_instance_uids)))
        if self.modality is not None:
            found.append(e.modality == self.modality)
        return found


def _each_once(view: View, narrow: Narrow) -> Subquery:
    """The images that are meant, each once: the caller's own rather than one shared with it."""
    every = view.of_instances().subquery()
    e = every.c
    turn = func.row_number().over(
        partition_by=e.sop_instance_uid, order_by=(e.share.is_not(None), e.source, e.share)
    )
    numbered = select(every, turn.label("turn")).where(*narrow.tests(e)).subquery()
    return select(numbered).where(numbered.c.turn == 1).subquery()


async def found_instances(
    connection: AsyncConnection,
    view: View,
    narrow: Narrow,
    *,
    limit: int,
    after: tuple[str, str] = ("", ""),
    offset: int = 0,
) -> list[HeldInstance]:
    """Images in the order of series and instance UID, each UID once."""
    if not narrow.about:
        return []
    one = _each_once(view, narrow).c
    query = (
        select(*(one[name] for name in HeldInstance.__dataclass_fields__))
        .where(tuple_(one.series_uid, one.sop_instance_uid) > after)
        .order_by(one.series_uid, one.sop_instance_uid)
        .limit(limit)
        .offset(offset)
    )
    return [HeldInstance(**row) for row in (await connection.execute(query)).mappings()]


@dataclass(frozen=True, slots=True)
class Amount:
    """How many images of one study are seen by one share (None: one's own), in one transfer syntax."""

    source: str
    study_uid: str
    share: UUID | None
    transfer_syntax: str
    images: int


async def amounts(connection: AsyncConnection, view: View, narrow: Narrow) -> list[Amount]:
    """What `found_instances` would find, counted."""
    if not narrow.about:
        return []
    one = _each_once(view, narrow).c
    what = (one.source, one.study_uid, one.share, one.transfer_syntax)
    query = select(*what, func.count().label("images")).group_by(*what).order_by(*what)
    return [Amount(**row) for row in (await connection.execute(query)).mappings()]


async def contexts(connection: AsyncConnection, view: View, narrow: Narrow) -> list[tuple[str, str]]:
    """SOP classes with the transfer syntaxes that their images are stored in, of what would be found."""
    if not narrow.about:
        return []
    one = _each_once(view, narrow).c
    what = (one.sop_class_uid, one.transfer_syntax)
    rows = await connection.execute(select(*what).distinct().order_by(*what))
    return [(row.sop_class_uid, row.transfer_syntax) for row in rows]


@dataclass(frozen=True, slots=True)
class HeldSeries:
    """A series, by its first image."""

    first: HeldInstance
    images: int


async def found_series(
    connection: AsyncConnection, view: View, narrow: Narrow, *, limit: int, offset: int = 0
) -> list[HeldSeries]:
    """Series in the order of the UIDs of their studies and their own."""
    if not narrow.about:
        return []
    once = _each_once(view, narrow)
    o = once.c
    of_series = (o.study_uid, o.series_uid)
    first = func.row_number().over(partition_by=of_series, order_by=o.sop_instance_uid).label("first")
    images = func.count().over(partition_by=of_series).label("images")
    counted = select(once, first, images).subquery()
    query = (
        select(counted)
        .where(counted.c.first == 1)
        .order_by(counted.c.study_uid, counted.c.series_uid)
        .limit(limit)
        .offset(offset)
    )
    names = HeldInstance.__dataclass_fields__
    return [
        HeldSeries(HeldInstance(**{name: row[name] for name in names}), row["images"])
        for row in (await connection.execute(query)).mappings()
    ]


async def shares_of(
    connection: AsyncConnection, view: View, about: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], UUID]:
    """By which share the caller sees each study that is another's."""
    if not about or view.covered is None:
        return {}
    query = (
        select(shares.c.source, shares.c.study_uid, shares.c.id)
        .where(tuple_(shares.c.source, shares.c.study_uid).in_(list(about)), view.shared())
        .order_by(shares.c.created_at.desc())
    )
    return {(row.source, row.study_uid): row.id for row in await connection.execute(query)}
