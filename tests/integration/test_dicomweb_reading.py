"""QIDO-RS and WADO-RS over a real PostgreSQL: what is found, handed out, and kept of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import yaml
from sqlalchemy import update
from tests.integration.portal_world import DIRECTORY, NOW, TOKENS, World, world

from imex.db.tables import routing
from imex.db.tables.directory import versions
from imex.dicomweb.media import media_type
from imex.dicomweb.related import PartBegun, PartPiece, RelatedReader
from imex.directory import digest, parse
from imex.directory.document import canonical
from imex.events.commands import ViewReportedData
from imex.portal.archive import Downloads
from imex.portal.dicomweb import search
from imex.testing.dicom import SyntheticStudy, synthetic_study

RELATED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
EXPLICIT = "1.2.840.10008.1.2.1"


async def apply(portal: World, text: str) -> None:
    directory = parse(text)
    row = {"version": digest(directory), "document": canonical(directory).decode()}
    await portal.write(versions, row | {"object_key": "directory/tests", "applied_by": "tests"})


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        await apply(made, DIRECTORY)
        yield made


async def stored(portal: World, study: SyntheticStudy, source: str = "RQM", **facts: Any) -> None:
    """A study as ingest, validation and routing would have left it."""
    given = {
        "patient_id": study.patient_id,
        "patient_name": "Testpatient^Avery",
        "issuer": "NHS",
        "birth_date": "19700101",
        "accession": study.accession,
        "study_description": "CT THORAX W CONTRAST",
    }
    await portal.study(source, study_uid=study.study_uid, **given | facts)
    for instance in study.instances:
        key = f"{source}/2026-03-05/{uuid4()}"
        await portal.store.put(key, instance.file())
        await portal.write(
            routing.instances,
            {
                "source": source,
                "sop_instance_uid": instance.sop_instance_uid,
                "study_uid": study.study_uid,
                "series_uid": f"{study.study_uid}.7",
                "sop_class_uid": instance.sop_class_uid,
                "transfer_syntax": instance.transfer_syntax,
                "modality": "CT",
                "object_key": key,
                "size": len(instance.dataset),
                "digest": instance.digest,
                "event_id": uuid4(),
                "directory_version": "5f0c" * 16,
                "received_at": NOW,
            },
        )


async def shared(portal: World, study: SyntheticStudy, part: int | None = 1, **facts: Any) -> UUID:
    """A share of it, with what was handed to its delivery."""
    share = await portal.share(study.study_uid, **facts)
    for instance in study.instances:
        await portal.write(
            routing.share_instances,
            {
                "share": share,
                "sop_instance_uid": instance.sop_instance_uid,
                "digest": instance.digest,
                "size": len(instance.dataset),
                "part": part,
                "state": "confirmed",
            },
        )
    return share


async def get(portal: World, who: str | None, path: str, accept: str = "", **params: Any) -> httpx2.Response:
    async with portal.client(who) as api:
        headers = {"accept": accept} if accept else {"accept": "application/dicom+json"}
        return await api.get(f"/dicom-web{path}", params=params, headers=headers)


async def uids(portal: World, who: str, path: str = "/studies", **params: Any) -> list[str]:
    answer = await get(portal, who, path, **params)
    assert answer.status_code in {200, 204}, answer.text
    tag = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}[path.rsplit("/", 1)[-1]]
    return [one[tag]["Value"][0] for one in answer.json()] if answer.status_code == 200 else []


def parts(answer: httpx2.Response) -> list[tuple[dict[str, str], bytes]]:
    reader = RelatedReader(media_type(answer.headers["content-type"]).parameters["boundary"])
    found: list[tuple[dict[str, str], bytes]] = []
    for happening in reader.feed(answer.content):
        if isinstance(happening, PartBegun):
            found.append((dict(happening.headers), b""))
        elif isinstance(happening, PartPiece):
            found[-1] = (found[-1][0], found[-1][1] + bytes(happening.data))
    reader.finish()
    return found


async def test_a_study_is_found_by_its_source_its_recipient_and_nobody_else(portal: World) -> None:
    study = synthetic_study(3, size=32)
    await stored(portal, study)
    assert await uids(portal, "RQM") == [study.study_uid] == await uids(portal, "admin")
    assert await uids(portal, "RT3") == []
    await shared(portal, study)
    assert await uids(portal, "RT3") == [study.study_uid]
    assert await uids(portal, "RXX") == []
    assert (await get(portal, None, "/studies")).status_code == 401
    for path in ("/studies/{}/series", "/studies/{}/instances"):
        assert len(await uids(portal, "RT3", path.format(study.study_uid))) in {1, 3}
        assert await uids(portal, "RXX", path.format(study.study_uid)) == []
    for path in ("/studies/{}", "/studies/{}/metadata"):
        for who, status in (("RQM", 200), ("RT3", 200), ("RXX", 404), (None, 401)):
            accept = "" if path.endswith("metadata") else RELATED
            assert (await get(portal, who, path.format(study.study_uid), accept)).status_code == status


NOT_GIVEN: list[dict[str, Any]] = [
    *(
        {"state": state}
        for state in ("requested", "collecting", "refused", "revoked", "cancelled", "expired")
    ),
    {"deidentified": True},
    {"agreement": None},
    {"agreement": "another"},
    {"purpose": "research"},
    {"disposed_at": NOW},
]


async def test_what_a_share_does_not_give_is_neither_found_nor_retrieved(portal: World) -> None:
    s = routing.shares
    for facts in NOT_GIVEN:
        study = synthetic_study(1, size=32)
        await stored(portal, study)
        share = await shared(portal, study)
        assert await uids(portal, "RT3") == [study.study_uid]
        async with portal.database.engine.begin() as connection:
            await connection.execute(update(s).where(s.c.id == share).values(**facts))
        await nothing_for_rt3(portal, study)
    not_handed = synthetic_study(1, size=32)
    await stored(portal, not_handed)
    await shared(portal, not_handed, part=None)
    await nothing_for_rt3(portal, not_handed)


async def nothing_for_rt3(portal: World, study: SyntheticStudy) -> None:
    assert await uids(portal, "RT3") == []
    assert await uids(portal, "RT3", PatientID=study.patient_id) == []
    assert await uids(portal, "RT3", "/instances") == []
    path = f"/studies/{study.study_uid}"
    for below in ("", "/metadata", f"/series/{study.study_uid}.7"):
        accept = "" if below == "/metadata" else RELATED
        assert (await get(portal, "RT3", path + below, accept)).status_code == 404


CHANGES: list[dict[str, Any]] = [
    {"valid_until": "2020-01-01"},
    {"valid_from": "2100-01-01"},
    {"from": "RXX"},
    {"to": "RXX"},
    {"purposes": ["mdt"]},
    {"deidentify": {"project": "P1"}},
]


async def test_when_its_agreement_no_longer_covers_it_nothing_more_leaves(portal: World) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    await shared(portal, study)
    for change in CHANGES:
        directory = yaml.safe_load(DIRECTORY)
        directory["agreements"][0] |= change
        await apply(portal, yaml.safe_dump(directory))
        await nothing_for_rt3(portal, study)
        assert await uids(portal, "RQM") == [study.study_uid]
        await apply(portal, DIRECTORY)
        assert await uids(portal, "RT3") == [study.study_uid]


async def test_disputed_instances_and_other_bytes_are_left_out(portal: World) -> None:
    study = synthetic_study(3, size=32)
    await stored(portal, study)
    await shared(portal, study)
    first, second, third = (one.sop_instance_uid for one in study.instances)
    i = routing.instances
    async with portal.database.engine.begin() as connection:
        await connection.execute(update(i).where(i.c.sop_instance_uid == first).values(disputed=True))
        await connection.execute(update(i).where(i.c.sop_instance_uid == second).values(digest="sha256:0"))
    path = f"/studies/{study.study_uid}/instances"
    assert await uids(portal, "RT3", path) == [third]
    assert set(await uids(portal, "RQM", path)) == {second, third}


async def test_a_retrieval_is_byte_for_byte_what_is_stored_and_is_kept_and_told(portal: World) -> None:
    study = synthetic_study(4, size=64)
    await stored(portal, study)
    share = await shared(portal, study)
    answer = await get(portal, "RT3", f"/studies/{study.study_uid}", RELATED)
    assert answer.status_code == 200
    found = parts(answer)
    assert sorted(data for _, data in found) == sorted(one.file() for one in study.instances)
    assert {head["content-type"] for head, _ in found} == {f"application/dicom; transfer-syntax={EXPLICIT}"}
    (audit,) = [one for one in await portal.audited() if one.action == "instances_exported"]
    assert (audit.share, audit.counts, audit.agreement) == (share, {"images": 4}, "a1")
    assert (audit.study_uid, audit.details["part"]) == (study.study_uid, "wado-rs")
    (told,) = [e.data for e in await portal.outbox("commands") if isinstance(e.data, ViewReportedData)]
    assert (told.share, told.how, told.actor_institution) == (share, "downloaded", "RT3")


async def test_a_source_that_retrieves_its_own_views_no_share(portal: World) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    await shared(portal, study)
    await get(portal, "RQM", f"/studies/{study.study_uid}/metadata")
    (audit,) = [one for one in await portal.audited() if one.action == "share_viewed"]
    assert (audit.share, audit.study_uid) == (None, study.study_uid)
    assert await portal.outbox("commands") == []


async def test_metadata_is_the_header_without_bulk_data(portal: World) -> None:
    study = synthetic_study(2, size=32)
    await stored(portal, study)
    answer = await get(portal, "RQM", f"/studies/{study.study_uid}/metadata")
    assert answer.headers["content-type"] == "application/dicom+json"
    heads = answer.json()
    assert {head["00080018"]["Value"][0] for head in heads} == set(study.digests)
    assert all(head["00280010"]["Value"] == [32] for head in heads)
    assert all("7FE00010" not in head and "00020010" not in head for head in heads)
    assert heads[0]["00100010"]["Value"][0]["Alphabetic"] == "TESTPATIENT^AVERY"


async def test_metadata_of_studies_is_asked_for_a_few_at_a_time(portal: World) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    portal.portal.headers = Downloads(total=1, each=1)
    path = f"/studies/{study.study_uid}/metadata"
    with portal.portal.headers.one("token/another"):
        assert (await get(portal, "RQM", path)).status_code == 503
    for _ in range(2):
        assert (await get(portal, "RQM", path)).status_code == 200, "room is made at its end"


async def test_an_answer_that_would_be_too_long_has_fewer_results_and_says_so(
    portal: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await stored(portal, synthetic_study(1, size=32))
    every = await uids(portal, "RQM")
    monkeypatch.setattr(search, "MOST_BYTES", 1)
    paged: list[str] = []
    for offset in range(3):
        answer = await get(portal, "RQM", "/studies", includefield="all", offset=offset)
        paged += [one["0020000D"]["Value"][0] for one in answer.json()]
        assert ("additional results" in answer.headers.get("warning", "")) is (offset < 2)
    assert paged == every


async def test_searches_are_made_a_few_at_a_time(portal: World) -> None:
    portal.portal.searches = Downloads(total=1, each=1)
    for path in ("/studies", "/series", "/instances"):
        with portal.portal.searches.one("token/another"):
            assert (await get(portal, "RQM", path)).status_code == 503
        assert (await get(portal, "RQM", path)).status_code == 204


async def test_a_reader_that_goes_away_leaves_how_far_it_came_in_the_audit_record(portal: World) -> None:
    study = synthetic_study(3, size=32)
    await stored(portal, study)
    gone, bodies = asyncio.Event(), 0

    async def send(message: Any) -> None:
        nonlocal bodies
        if message["type"] == "http.response.body":
            bodies += 1
            if bodies > 1:
                gone.set()
                await asyncio.Event().wait()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    headers = {"authorization": f"Bearer {TOKENS['RQM']}", "accept": RELATED, "host": "portal.test"}
    scope = {
        "type": "http",
        "asgi": {"spec_version": "2.3"},
        "method": "GET",
        "scheme": "http",
        "path": f"/dicom-web/studies/{study.study_uid}",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await portal.app(scope, receive, send)
    kept = [record for record in await portal.audited() if record.action == "instances_exported"]
    assert [(record.outcome, record.reason) for record in kept] == [
        ("success", ""),
        ("failure", "broken off: the reader went away"),
    ]


async def test_one_instance_comes_as_a_part_or_as_a_file(portal: World) -> None:
    study = synthetic_study(2, size=32)
    await stored(portal, study)
    uid = study.instances[0].sop_instance_uid
    path = f"/studies/{study.study_uid}/series/{study.study_uid}.7/instances/{uid}"
    assert [data for _, data in parts(await get(portal, "RQM", path, RELATED))] == [study.instances[0].file()]
    assert (await get(portal, "RQM", path, "application/dicom")).content == study.instances[0].file()
    assert len((await get(portal, "RQM", path + "/metadata")).json()) == 1
    assert (await get(portal, "RQM", path + "9", RELATED)).status_code == 404


async def test_what_is_accepted_is_what_is_stored(portal: World) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    for accept, status in (
        ("*/*", 200),
        ("multipart/related", 200),
        (f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}', 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90', 406),
        ('multipart/related; type="application/octet-stream"', 406),
        ("image/jpeg", 406),
        ("application/dicom", 406),
    ):
        answer = await get(portal, "RQM", f"/studies/{study.study_uid}", accept)
        assert answer.status_code == status, accept
        assert status == 200 or "transfer-syntax=*" in answer.json()["detail"]


async def test_searches_match_and_page(portal: World) -> None:
    made = [synthetic_study(1, size=32) for _ in range(4)]
    for day, study in enumerate(made, 1):
        await stored(portal, study, study_date=f"2026030{day}")
    first, second, third, last = (study.study_uid for study in made)
    assert await uids(portal, "RQM") == [last, third, second, first]
    assert await uids(portal, "RQM", limit=2) == [last, third]
    assert await uids(portal, "RQM", limit=2, offset=3) == [first]
    assert "additional results" in (await get(portal, "RQM", "/studies", limit=2)).headers["warning"]
    number = made[0].patient_id
    searches: list[tuple[dict[str, str], list[str]]] = [
        ({"PatientID": number}, [first]),
        ({"PatientID": f"{number[:3]} {number[3:6]} {number[6:]}"}, [first]),
        ({"00100020": number}, [first]),
        ({"AccessionNumber": made[1].accession}, [second]),
        ({"StudyDate": "20260302-20260303"}, [third, second]),
        ({"StudyDate": "-20260301"}, [first]),
        ({"StudyDate": "20260304"}, [last]),
        ({"PatientName": "testpatient*", "StudyInstanceUID": f"{first},{last}"}, [last, first]),
        ({"PatientName": "other*"}, []),
        ({"ModalitiesInStudy": "MR,CT"}, [last, third, second, first]),
        ({"ModalitiesInStudy": "MR"}, []),
        ({"StudyDescription": "*thorax*", "StudyDate": "20260301"}, [first]),
        ({"PatientID": "*%*"}, []),
        ({"PatientID": ""}, [last, third, second, first]),
    ]
    for params, expected in searches:
        assert await uids(portal, "RQM", **params) == expected, params


async def test_an_answer_has_what_viewers_need(portal: World) -> None:
    study = synthetic_study(3, size=32)
    await stored(portal, study)
    (one,) = (await get(portal, "RQM", "/studies")).json()
    assert one["00201208"]["Value"] == [3] and one["00201206"]["Value"] == [1]
    assert one["00100020"]["Value"] == [study.patient_id]
    assert one["00100040"]["Value"] == ["O"]
    assert one["00081190"]["Value"][0].endswith(f"/dicom-web/studies/{study.study_uid}")
    (series,) = (await get(portal, "RQM", f"/studies/{study.study_uid}/series")).json()
    assert (series["00080060"]["Value"], series["00201209"]["Value"]) == (["CT"], [3])
    found = (await get(portal, "RQM", "/instances", limit=2, includefield="WindowCenter,00280102")).json()
    assert len(found) == 2 and found[0]["00280010"]["Value"] == [32]
    assert found[0]["00100020"]["Value"] == [study.patient_id]
    assert "00280102" in found[0]


async def test_a_search_that_cannot_be_answered_is_refused_in_words(portal: World) -> None:
    refused: list[tuple[dict[str, str], str]] = [
        ({"ReferringPhysicianName": "x"}, "cannot be matched"),
        ({"PatientNmae": "x"}, "cannot be matched"),
        ({"limit": "many"}, "whole number"),
        ({"StudyDate": "yesterday"}, "YYYYMMDD"),
        ({"StudyInstanceUID": "1.2; DROP"}, "UID"),
        ({"includefield": "Nonsense"}, "no attribute"),
    ]
    for params, words in refused:
        answer = await get(portal, "RQM", "/studies", **params)
        assert answer.status_code == 400 and words in answer.json()["detail"], params
    fuzzy = await get(portal, "RQM", "/studies", fuzzymatching="true")
    assert fuzzy.status_code == 204 and "fuzzymatching" in fuzzy.headers["warning"]


async def test_each_study_of_an_answer_is_kept(portal: World) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    share = await shared(portal, study)
    await uids(portal, "RT3")
    await uids(portal, "RXX")
    listed = [one for one in await portal.audited() if one.details.get("list") == "qido-rs"]
    assert [(one.share, one.study_uid) for one in listed] == [(share, study.study_uid), (None, None)]
    text = json.dumps([one.model_dump(mode="json") for one in listed])
    assert study.patient_id not in text


async def test_an_image_that_is_damaged_or_gone_is_not_handed_out(portal: World) -> None:
    study = synthetic_study(2, size=32)
    await stored(portal, study)
    path = f"/studies/{study.study_uid}"
    whole = dict(portal.store.objects)
    for key, (content, *rest) in whole.items():
        portal.store.objects[key] = (content[:-4] + b"\1\2\3\4", *rest)  # type: ignore[assignment]
    answer = await get(portal, "RQM", path, RELATED)
    assert answer.status_code == 500 and "digest" in answer.json()["detail"]
    portal.store.objects.clear()
    assert (await get(portal, "RQM", path, RELATED)).status_code == 410
    assert len((await get(portal, "RQM", path + "/metadata")).json()) == 2
