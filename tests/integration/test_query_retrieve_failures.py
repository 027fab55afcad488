"""Queries and retrievals that are too many, too much, broken off, or go to where nothing arrives."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    Verification,
)
from sqlalchemy import select, update
from tests.integration.portal_world import World
from tests.integration.pull_world import (
    EXPLICIT,
    FIND,
    GET,
    MOVE,
    asked,
    directory,
    emptied,
    listening,
    study_uids,
)
from tests.integration.test_dicomweb_reading import apply, shared, stored

from imex.db.tables import routing
from imex.dimse import StoreCommand, StoreResponse
from imex.local.ports import free_ports
from imex.portal.archive import Downloads
from imex.portal.query_retrieve import find, payloads, peer, retrieving
from imex.portal.query_retrieve.identifiers import encode_match
from imex.testing.dicom import synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.runtime import until


@pytest.fixture
async def portal(database_url_of_module: str) -> AsyncIterator[World]:
    async with emptied(database_url_of_module) as made:
        yield made


async def test_a_query_has_a_most_and_says_so(portal: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "MOST_STUDIES", 2)
    for _ in range(3):
        await stored(portal, synthetic_study(1, size=32))
    async with listening(portal) as listener:
        heard = await asked(listener, FIND, "STUDY", "RQM_PACS", StudyInstanceUID="")
        assert [status for status, *_ in heard] == [0xFF00, 0xFF00, 0xA700]
        assert heard[-1][1] == "only the first 2 matches: narrow the query"


async def test_a_node_that_is_down_or_takes_other_syntaxes_only_fails_with_a_reason(portal: World) -> None:
    study = synthetic_study(2, size=32)
    await stored(portal, study)
    await shared(portal, study)
    async with listening(portal) as listener:
        for accepts, words in (({}, "connection refused"), ({"sop_classes": ["1.2.3"]}, "takes none")):
            (port,) = free_ports(1)
            await apply(portal, directory(port, accepts=accepts))
            *_, (status, comment, _, counts) = await asked(
                listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid
            )
            assert (status, counts) == (0xA702, (None, 0, 2, 0))
            assert words in comment


async def test_queries_and_retrievals_are_cancelled(portal: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(*arguments: Any) -> bytes:
        time.sleep(0.05)
        return encode_match(*arguments)

    monkeypatch.setattr("imex.portal.query_retrieve.find.encode_match", slowly)
    study = synthetic_study(40, size=16)
    await stored(portal, study)
    await shared(portal, study)
    async with listening(portal) as listener:
        got: list[Dataset] = []
        heard = await asked(listener, GET, "STUDY", StudyInstanceUID=study.study_uid, got=got, cancel_after=2)
        status, _, _, (remaining, completed, failed, _) = heard[-1]
        assert status == 0xFE00
        assert remaining + completed == 40
        assert (failed, completed < 40) == (0, True)
        named = {"StudyInstanceUID": study.study_uid, "SOPInstanceUID": ""}
        found = await asked(listener, FIND, "IMAGE", cancel_after=1, **named)
        assert found[-1][0] == 0xFE00
        assert len(found) < 40
    broken = [one for one in await portal.audited() if one.outcome == "failure"]
    assert [(one.reason, one.counts) for one in broken] == [("broken off: cancelled", {"images": completed})]


async def test_compressed_images_go_as_they_are_to_who_takes_them(portal: World) -> None:
    jpeg = "1.2.840.10008.1.2.4.70"
    study = synthetic_study(2, size=32)
    study = replace(study, instances=[replace(one, transfer_syntax=jpeg) for one in study.instances])
    await stored(portal, study)
    await shared(portal, study)
    recorder = DimseRecorder()
    async with acceptor(recorder) as node:
        await apply(portal, directory(node.port))
        async with listening(portal) as listener:
            moved = await asked(listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid)
            refused = await asked(listener, GET, "STUDY", StudyInstanceUID=study.study_uid)
            got: list[Dataset] = []
            given = await asked(
                listener, GET, "STUDY", StudyInstanceUID=study.study_uid, got=got, syntax=jpeg
            )
    assert moved[-1][0] == 0x0000
    assert {command.transfer_syntax for command in recorder.commands} == {jpeg}
    assert (refused[-1][0], refused[-1][3]) == (0xA702, (None, 0, 2, 0))
    assert refused[-1][1] == "no presentation context for an image's class and syntax"
    assert (given[-1][0], len(got)) == (0x0000, 2)


async def test_who_does_not_answer_or_vanishes_holds_up_nobody_and_gives_its_place_back(
    portal: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = synthetic_study(5, size=32)
    await stored(portal, study)
    await shared(portal, study)
    one_place = Downloads(total=2, each=1)
    made = peer.Surroundings
    monkeypatch.setattr(
        "imex.portal.query_retrieve.listener.Surroundings",
        lambda *arguments, **options: replace(made(*arguments, **options), retrievals=one_place),
    )
    begun, over = threading.Event(), threading.Event()

    def stalls(_: Any) -> int:
        begun.set()
        over.wait(20)
        return 0x0000

    entity = AE(ae_title="RT3_PACS")
    entity.add_requested_context(GET)
    entity.add_requested_context(CTImageStorage, [EXPLICIT])
    entity.dimse_timeout = 1
    handlers: list[Any] = [(evt.EVT_C_STORE, stalls)]
    roles: list[Any] = [build_role(CTImageStorage, scp_role=True)]
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", study.study_uid
    async with listening(portal) as listener:
        association = await asyncio.to_thread(
            entity.associate,
            "127.0.0.1",
            listener.port,
            ae_title="IMEX",
            ext_neg=roles,
            evt_handlers=handlers,
        )
        stalled = asyncio.create_task(asyncio.to_thread(lambda: list(association.send_c_get(wanted, GET))))
        await asyncio.to_thread(begun.wait, 10)
        assert await study_uids(listener) == [study.study_uid], "its own institution may still ask"
        [(status, *_)] = await asked(listener, GET, "STUDY", StudyInstanceUID=study.study_uid)
        assert status == 0xA700, "its only place is taken"
        *_, (status, _, _, _) = await asked(
            listener, GET, "STUDY", "RQM_PACS", StudyInstanceUID=study.study_uid
        )
        assert status == 0x0000, "another institution has its own"
        await asyncio.to_thread(association.abort)
        over.set()
        await stalled

        async def place_is_free() -> bool:
            heard = await asked(listener, GET, "STUDY", StudyInstanceUID=study.study_uid)
            return bool(heard[-1][0] == 0x0000)

        await until(place_is_free)
    broken = [one for one in await portal.audited() if one.outcome == "failure"]
    assert [one.reason for one in broken] == ["broken off: the association ended"]


async def test_what_is_taken_back_meanwhile_goes_no_further(
    portal: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieving, "PAGE", 1)
    study = synthetic_study(3, size=16)
    await stored(portal, study)
    share = await shared(portal, study)
    recorder = DimseRecorder()

    async def revoked(command: StoreCommand) -> StoreResponse:
        async with portal.database.engine.begin() as connection:
            s = routing.shares
            await connection.execute(update(s).where(s.c.id == share).values(state="revoked"))
        return StoreResponse()

    recorder.on_commit = revoked
    async with acceptor(recorder) as node:
        await apply(portal, directory(node.port))
        async with listening(portal) as listener:
            heard = await asked(listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid)
    assert len(recorder.stored) == 1
    assert heard[-1][:2] == (0xB000, "no longer shared")
    assert heard[-1][3] == (None, 1, 2, 0)


async def test_what_is_gone_or_damaged_fails_alone_and_large_images_are_streamed(
    portal: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "WHOLE_BYTES", 1000)
    study = synthetic_study(4, size=256)
    await stored(portal, study)
    await shared(portal, study)
    async with portal.database.engine.connect() as connection:
        i = routing.instances.c
        rows = await connection.execute(
            select(i.sop_instance_uid, i.object_key)
            .where(i.study_uid == study.study_uid)
            .order_by(i.sop_instance_uid)
        )
        gone, damaged = rows.all()[1:3]
    bad = {gone.sop_instance_uid, damaged.sop_instance_uid}
    await portal.store.delete(gone.object_key)
    content = bytearray(await portal.store.get(damaged.object_key))
    content[-1] ^= 1
    await portal.store.put(damaged.object_key, bytes(content))
    recorder = DimseRecorder()
    async with acceptor(recorder) as node:
        await apply(portal, directory(node.port))
        async with listening(portal) as listener:
            heard = await asked(listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid)
            sound = next(iter(study.digests.keys() - bad))
            for uid, status in ((gone.sop_instance_uid, 0xA702), (sound, 0x0000)):
                named = {"StudyInstanceUID": study.study_uid, "SOPInstanceUID": uid}
                assert (await asked(listener, GET, "IMAGE", **named))[-1][0] == status
    assert {uid: one.sha256 for uid, one in recorder.stored.items()} == {
        uid: digest.removeprefix("sha256:") for uid, digest in study.digests.items() if uid not in bad
    }
    status, comment, failed, counts = heard[-1]
    assert (status, counts) == (0xB000, (None, 2, 2, 0))
    assert comment == "an image is not in the store any more"
    assert set(failed.FailedSOPInstanceUIDList) == bad


async def test_of_several_studies_the_record_names_those_that_did_not_go_whole(portal: World) -> None:
    sound, damaged = synthetic_study(2, size=16), synthetic_study(2, size=16)
    shares = []
    for study in (sound, damaged):
        await stored(portal, study)
        shares.append(await shared(portal, study))
    async with portal.database.engine.connect() as connection:
        i = routing.instances.c
        keys = await connection.execute(select(i.object_key).where(i.study_uid == damaged.study_uid).limit(1))
        await portal.store.delete(keys.scalar_one())
    async with acceptor(DimseRecorder()) as node:
        await apply(portal, directory(node.port))
        async with listening(portal) as listener:
            uids = [sound.study_uid, damaged.study_uid]
            heard = await asked(listener, MOVE, "STUDY", StudyInstanceUID=uids)
    assert (heard[-1][0], heard[-1][3]) == (0xB000, (None, 3, 1, 0))
    exported = [one for one in await portal.audited() if one.action == "instances_exported"]
    assert {one.share for one in exported if one.outcome == "success"} == set(shares)
    failed = [one for one in exported if one.outcome == "failure"]
    assert [(one.share, one.counts) for one in failed] == [(shares[1], {"images": 1})]


async def test_a_node_that_ends_its_association_is_connected_to_again(portal: World) -> None:
    study = synthetic_study(3, size=32)
    await stored(portal, study)
    await shared(portal, study)
    first = sorted(study.digests)[0]
    got: list[str] = []

    def keep(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid == first and not got:
            got.append("")
            event.assoc.abort()
        else:
            got.append(uid)
        return 0x0000

    entity = AE(ae_title="RT3_PACS")
    entity.add_supported_context(CTImageStorage, [EXPLICIT])
    handlers: list[Any] = [(evt.EVT_C_STORE, keep)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    await apply(portal, directory(server.server_address[1]))
    async with listening(portal) as listener:
        heard = await asked(listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid)
    await asyncio.to_thread(server.shutdown)
    assert heard[-1][0] == 0xB000
    assert heard[-1][3] == (None, 2, 1, 0)
    assert got[1:] == sorted(study.digests)[1:]


async def test_an_institution_has_so_many_places(portal: World, monkeypatch: pytest.MonkeyPatch) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    await shared(portal, study)
    made = peer.Surroundings

    def crowded(*arguments: Any, **options: Any) -> peer.Surroundings:
        none = Downloads(total=1, each=0)
        return replace(made(*arguments, **options), searches=none, retrievals=none)

    monkeypatch.setattr("imex.portal.query_retrieve.listener.Surroundings", crowded)
    async with listening(portal) as listener:
        for model in (FIND, MOVE, GET):
            [(status, comment, _, _)] = await asked(
                listener, model, "STUDY", StudyInstanceUID=study.study_uid
            )
            assert status == 0xA700
            assert comment.startswith("out of resources: You have 0 of these under way already")


async def test_where_a_port_is_taken_the_portal_goes_on_and_says_so(portal: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with listening(portal, port=taken.getsockname()[1]) as listener:
            health = listener.health()
    assert (health.ready, health.live, "cannot listen" in health.detail) == (False, True, True)


async def test_institutions_have_their_own_places_and_the_silent_harm_nobody(portal: World) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    await shared(portal, study)
    async with listening(portal, institution_associations=2) as listener:
        silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(20)]
        entity = AE(ae_title="RT3_PACS")
        entity.add_requested_context(Verification)
        held = [
            await asyncio.to_thread(entity.associate, "127.0.0.1", listener.port, ae_title="IMEX")
            for _ in range(3)
        ]
        assert [association.is_established for association in held] == [True, True, False]
        began = time.monotonic()
        assert await study_uids(listener, calling="RQM_PACS") == [study.study_uid]
        assert time.monotonic() - began < 5
        for association in held[:2]:
            await asyncio.to_thread(association.release)
        assert await study_uids(listener) == [study.study_uid]
    for connection in silent:
        connection.close()
