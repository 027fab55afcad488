"""QIDO-RS (PS3.18 section 10.6): studies, series and instances that the caller may retrieve."""

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from imex.db import UnitOfWork
from imex.dicomweb.elements import Json, element
from imex.dicomweb.media import DICOM_JSON, json_wanted
from imex.portal.api.access import CallerPart, PortalPart
from imex.portal.context import Portal
from imex.portal.dicomweb import records
from imex.portal.dicomweb.heads import SEARCH_BYTES, heads_of
from imex.portal.dicomweb.matching import Wanted, read
from imex.portal.dicomweb.urls import base_url, instance_url, series_url
from imex.portal.problems import Problem
from imex.portal.queries import directories, holdings
from imex.portal.queries.holdings import HeldInstance, HeldSeries, HeldStudy, Narrow, View
from imex.portal.scope import Caller

router = APIRouter(tags=["dicomweb"])

MOST_STUDIES: Final = 200
MOST_SERIES: Final = 500
MOST_INSTANCES: Final = 1000
MOST_BYTES: Final = 16 << 20
"""Of one answer; where it would be longer, it has fewer results, and says that there are more."""
_MOST_STUDIES_SEARCHED: Final = 1000
"""Of a search for series or instances that names no study."""

_OF_STUDY: Final = frozenset({"00080020", "00080030", "00080090", "00100040", "00200010"})
_OF_SERIES: Final = frozenset({"0008103E", "00200011", "00400244", "00400245", "00080021", "00080031"})
_OF_INSTANCE: Final = frozenset({"00200013", "00280008", "00280010", "00280011", "00280100", "00080008"})

Uid = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[0-9.]+$")]


@router.get("/studies", include_in_schema=False)
async def studies(request: Request, portal: PortalPart, caller: CallerPart) -> Response:
    """Studies, the last to come in first."""
    wanted = _wanted(request, "studies", MOST_STUDIES)
    base = base_url(request, portal)
    with portal.searches.one(f"{caller.kind}/{caller.id}"):
        return await _studies(portal, caller, wanted, base)


async def _studies(portal: Portal, caller: Caller, wanted: Wanted, base: str) -> Response:
    async with portal.database.unit() as unit:
        view = await view_for(unit, caller)
        found = await holdings.found_studies(
            unit.connection, view, wanted, limit=wanted.limit + 1, offset=wanted.offset
        )
        found, more = found[: wanted.limit], len(found) > wanted.limit
        about = [(study.source, study.study_uid) for study in found]
        by = await holdings.shares_of(unit.connection, view, about)
        firsts = [await first_of(unit, view, study) for study in found]
        records.searched(unit, caller, about, by)
    told = [study_json(study, base) for study in found]
    return await _answer(portal, firsts, told, _OF_STUDY, wanted, more)


@router.get("/series", include_in_schema=False)
async def series(request: Request, portal: PortalPart, caller: CallerPart) -> Response:
    """Series of any studies."""
    return await _series(request, portal, caller, None)


@router.get("/studies/{study}/series", include_in_schema=False)
async def series_of_study(request: Request, portal: PortalPart, caller: CallerPart, study: Uid) -> Response:
    """Series of one study."""
    return await _series(request, portal, caller, study)


async def _series(request: Request, portal: Portal, caller: Caller, study: str | None) -> Response:
    wanted = _wanted(request, "series", MOST_SERIES)
    base = base_url(request, portal)
    with portal.searches.one(f"{caller.kind}/{caller.id}"):
        return await _found_series(portal, caller, wanted, base, study)


async def _found_series(
    portal: Portal, caller: Caller, wanted: Wanted, base: str, study: str | None
) -> Response:
    async with portal.database.unit() as unit:
        view = await view_for(unit, caller)
        about = await _about(unit, view, wanted, study)
        found = await holdings.found_series(
            unit.connection,
            view,
            Narrow(list(about), wanted.series_uid, modality=wanted.modality),
            limit=wanted.limit + 1,
            offset=wanted.offset,
        )
        found, more = found[: wanted.limit], len(found) > wanted.limit
        _searched(unit, caller, [one.first for one in found])
    usual = _OF_SERIES if study is not None else _OF_SERIES | _OF_STUDY
    told = [series_json(one, base) | _of_its_study(about, one.first, study) for one in found]
    return await _answer(portal, [one.first for one in found], told, usual, wanted, more)


@router.get("/instances", include_in_schema=False)
async def instances(request: Request, portal: PortalPart, caller: CallerPart) -> Response:
    """Instances of any studies."""
    return await _instances(request, portal, caller, None, None)


@router.get("/studies/{study}/instances", include_in_schema=False)
async def instances_of_study(
    request: Request, portal: PortalPart, caller: CallerPart, study: Uid
) -> Response:
    """Instances of one study."""
    return await _instances(request, portal, caller, study, None)


@router.get("/studies/{study}/series/{series_uid}/instances", include_in_schema=False)
async def instances_of_series(
    request: Request, portal: PortalPart, caller: CallerPart, study: Uid, series_uid: Uid
) -> Response:
    """Instances of one series."""
    return await _instances(request, portal, caller, study, series_uid)


async def _instances(
    request: Request, portal: Portal, caller: Caller, study: str | None, of_series: str | None
) -> Response:
    wanted = _wanted(request, "instances", MOST_INSTANCES)
    base = base_url(request, portal)
    with portal.searches.one(f"{caller.kind}/{caller.id}"):
        return await _found_instances(portal, caller, wanted, base, study, of_series)


async def _found_instances(  # noqa: PLR0917  what one search is made of
    portal: Portal, caller: Caller, wanted: Wanted, base: str, study: str | None, of_series: str | None
) -> Response:
    async with portal.database.unit() as unit:
        view = await view_for(unit, caller)
        about = await _about(unit, view, wanted, study)
        found = await holdings.found_instances(
            unit.connection,
            view,
            Narrow(
                list(about),
                of_series or wanted.series_uid,
                wanted.sop_instance_uid,
                wanted.sop_class_uids,
                wanted.modality,
            ),
            limit=wanted.limit + 1,
            offset=wanted.offset,
        )
        found, more = found[: wanted.limit], len(found) > wanted.limit
        _searched(unit, caller, found)
    usual = _OF_INSTANCE
    usual = usual if of_series is not None else usual | _OF_SERIES
    usual = usual if study is not None else usual | _OF_STUDY
    told = [instance_json(one, base) | _of_its_study(about, one, study) for one in found]
    return await _answer(portal, found, told, usual, wanted, more)


async def view_for(unit: UnitOfWork, caller: Caller) -> View:
    """What a caller may see at this moment."""
    applied = await directories.in_force(unit.connection)
    return holdings.view_of(caller.scope, applied.directory, datetime.now(UTC))


def _wanted(request: Request, level: str, most: int) -> Wanted:
    if not json_wanted(request.headers.get("accept", "")):
        raise Problem(406, f"A search is answered in {DICOM_JSON}. Accept that.")
    return read(request.query_params.multi_items(), level, most)


async def _about(
    unit: UnitOfWork, view: View, wanted: Wanted, study: str | None
) -> Mapping[tuple[str, str], HeldStudy | None]:
    """The studies that a search for what is in them is about; all sources of one that is named."""
    if study is not None:
        if wanted.conditions:
            raise Problem(400, "The path names the study: leave its attributes out.")
        return dict.fromkeys(await holdings.sources_of(unit.connection, view, study))
    found = await holdings.found_studies(unit.connection, view, wanted, limit=_MOST_STUDIES_SEARCHED + 1)
    if len(found) > _MOST_STUDIES_SEARCHED:
        raise Problem(413, f"That is more than {_MOST_STUDIES_SEARCHED} studies. Narrow the search.")
    return {(one.source, one.study_uid): one for one in found}


async def first_of(unit: UnitOfWork, view: View, study: HeldStudy) -> HeldInstance | None:
    """An image of the study, for what only headers tell; None where none is left."""
    narrow = Narrow([(study.source, study.study_uid)])
    found = await holdings.found_instances(unit.connection, view, narrow, limit=1)
    return found[0] if found else None


def _searched(unit: UnitOfWork, caller: Caller, found: Sequence[HeldInstance]) -> None:
    by: dict[tuple[str, str], UUID] = {
        (one.source, one.study_uid): one.share for one in found if one.share is not None
    }
    records.searched(unit, caller, {(one.source, one.study_uid) for one in found}, by)


def study_json(study: HeldStudy, base: str) -> Json:
    """What is known of a study without reading an image."""
    facts = study.facts
    return {
        "00080005": element("CS", "ISO_IR 192"),
        "00080020": element("DA", facts["study_date"]),
        "00080050": element("SH", facts["accession"]),
        "00080056": element("CS", "ONLINE"),
        "00080061": element("CS", *study.modalities),
        "00081030": element("LO", facts["study_description"]),
        "00081190": element("UR", f"{base}/studies/{study.study_uid}"),
        "00100010": element("PN", facts["patient_name"]),
        "00100020": element("LO", facts["patient_id"]),
        "00100021": element("LO", facts["issuer"]),
        "00100030": element("DA", facts["birth_date"]),
        "0020000D": element("UI", study.study_uid),
        "00201206": element("IS", study.series),
        "00201208": element("IS", study.images),
    }


def series_json(one: HeldSeries, base: str) -> Json:
    """What is known of a series without reading an image."""
    first = one.first
    return {
        "00080005": element("CS", "ISO_IR 192"),
        "00080056": element("CS", "ONLINE"),
        "00080060": element("CS", first.modality),
        "00081190": element("UR", series_url(base, first.study_uid, first.series_uid)),
        "0020000D": element("UI", first.study_uid),
        "0020000E": element("UI", first.series_uid),
        "00201209": element("IS", one.images),
    }


def instance_json(one: HeldInstance, base: str) -> Json:
    """What is known of an image without reading it."""
    url = instance_url(base, one.study_uid, one.series_uid, one.sop_instance_uid)
    return {
        "00080005": element("CS", "ISO_IR 192"),
        "00080016": element("UI", one.sop_class_uid),
        "00080018": element("UI", one.sop_instance_uid),
        "00080056": element("CS", "ONLINE"),
        "00080060": element("CS", one.modality),
        "00081190": element("UR", url),
        "00083002": element("UI", one.transfer_syntax),
        "0020000D": element("UI", one.study_uid),
        "0020000E": element("UI", one.series_uid),
    }


def _of_its_study(
    about: Mapping[tuple[str, str], HeldStudy | None], one: HeldInstance, study: str | None
) -> Json:
    """Attributes of the study, where the search named none (PS3.18 table 10.6.3-4)."""
    held = about.get((one.source, one.study_uid)) if study is None else None
    if held is None:
        return {}
    url = "00081190"
    return {tag: value for tag, value in study_json(held, "").items() if tag != url}


async def _answer(  # noqa: PLR0917  what one answer is made of
    portal: Portal,
    images: Sequence[HeldInstance | None],
    told: Sequence[Json],
    usual: frozenset[str],
    wanted: Wanted,
    more: bool,
) -> Response:
    """What is known of each result without reading its image, and what of its head was asked for."""
    only = None if wanted.every_field else usual | wanted.fields
    answers: list[bytes] = []
    left = MOST_BYTES
    async with aclosing(heads_of(portal.payloads, images, SEARCH_BYTES, only)) as heads:
        async for head in heads:
            if left <= 0:
                more = True  # the next search goes on there, by its offset
                break
            answer = {tag: head[tag] for tag in head if only is None or tag in only} | told[len(answers)]
            text = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            answers.append(text.encode())
            left -= len(answers[-1])
    warnings = list(wanted.warnings)
    if more:
        warnings.append("There are additional results that can be requested")
    headers = {"Warning": ", ".join(f'299 imex "{words}"' for words in warnings)} if warnings else None
    if not answers:
        return Response(status_code=204, headers=headers)
    return Response(b"[" + b",".join(answers) + b"]", headers=headers, media_type=DICOM_JSON)
