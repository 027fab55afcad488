"""Senders ask Imex for storage commitments: Orthanc among them, over restarts, and never a false yes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import func
from sqlalchemy.exc import NoResultFound
from tests.integration.commitment_world import CT, EVERYTHING, Asking, Written, uids
from tests.integration.portal_world import world as portal_world

from imex.db.tables import delivery, routing
from imex.delivery.confirming.asking import CannotAsk
from imex.delivery.confirming.dimse import Nodes
from imex.dicom.commitment import Reference, Report, Request
from imex.directory.model import DicomEndpoint
from imex.local.ports import free_ports
from imex.portal.commitment.answering import Answer
from imex.portal.commitment.questions import Asker, Taken
from imex.portal.commitment.settings import CommitmentSettings
from imex.testing.peers import Orthanc

SENDER = Asker("RQM", "RQM_PACS", "IMEX")


@asynccontextmanager
async def made(url: str, port: int = 1, **settings: Any) -> AsyncIterator[Asking]:
    async with portal_world(url) as world:
        asking = Asking(world, CommitmentSettings(**settings))
        await asking.apply(port)
        yield asking
        asking.nodes.close()


@pytest.fixture
async def asking(migrated_database_url: str) -> AsyncIterator[Asking]:
    async with made(migrated_database_url) as one:
        yield one


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, int, int]]:
    """Orthanc as the sender, the port at which it asks Imex, and that of its interface."""
    port, http_port, imex = free_ports(3)
    folder: Path = tmp_path_factory.mktemp("orthanc")
    server = Orthanc("RQM_PACS", port, http_port, folder, {"imex": ("IMEX", imex)})
    server.start()
    yield server, imex, http_port
    server.stop()


async def told(asking: Asking, written: Written) -> Report:
    """What a sender is told that asks for all of a study, and keeps the association open."""
    async with asking.listening() as port:
        return await ask(port, written.references, transaction())


async def ask(port: int, references: list[Reference], transaction_uid: str, ae: str = "RQM_PACS") -> Report:
    node = DicomEndpoint(name="imex", type="dicom", ae_title="IMEX", host="127.0.0.1", port=port)
    nodes = Nodes(ae)
    try:
        report = await nodes.commit(node, transaction_uid, references, 10.0)
    finally:
        nodes.close()
    assert report is not None
    return report


def transaction() -> str:
    return f"2.25.{uuid4().int}"


async def keep(asking: Asking, references: list[Reference], asker: Asker = SENDER) -> tuple[Taken, str]:
    """A question that nobody waits for."""
    request = Request(transaction(), tuple(references))
    taken, _ = await asking.commitments.take(asker, request, patience=timedelta())
    return taken, request.transaction_uid


async def test_what_an_archive_has_committed_is_told_on_the_same_association(asking: Asking) -> None:
    written = await asking.study(3)
    report = await told(asking, written)
    assert set(report.committed) == uids(written.references)
    assert report.refused == {}
    row = await asking.row(report.transaction_uid)
    assert (row.state, row.refused, row.reason) == ("reported", [], "")
    asked, answered = await asking.portal.audited()
    assert (asked.action, asked.actor.id, asked.counts) == ("commitment_asked", "RQM", {"asked": 3})
    assert (answered.action, answered.outcome) == ("commitment_told", "success")
    assert answered.counts == {"committed": 3, "refused": 0}


async def test_on_anything_less_it_is_no(asking: Asking) -> None:
    less: list[dict[str, Any]] = [
        {"instance": {"confirmation": "answer"}},
        {"instance": {"confirmation": "query"}},
        {"instance": {"state": "failed"}},
        {"instance": {"delivered_digest": "sha256:" + "1" * 64}},
        {"instance": {"sent_uid": "2.25.4711"}},
        {"instance": {"digest": "sha256:" + "2" * 64}},
        {"line": {"confirmed_by": "query"}},
        {"line": {"digest": "sha256:" + "3" * 64}},
        {"line": {"changes": ["rewritten in Explicit VR Little Endian"]}},
        {"line": {"status": "failed"}},
        {"share": {"state": "revoked"}},
        {"share": {"deidentified": True}},
        {"delivery": {"deidentify": {"project": "P"}}},
    ]
    async with asking.listening() as port:
        for how in less:
            written = await asking.study(1, **how)
            report = await ask(port, written.references, transaction())
            assert report.committed == (), how
            assert set(report.refused.values()) == {0x0110}, how


async def test_each_instance_has_its_own_answer(asking: Asking) -> None:
    written = await asking.study(2)
    await asking.recalled(written)
    others = await asking.study(1, source="RXX")
    known = written.references[1]
    wanted = [
        *written.references,
        Reference("1.2.840.10008.5.1.4.1.1.4", known.sop_instance_uid),
        *others.references,
        Reference(CT, "2.25.1"),
    ]
    async with asking.listening() as port:
        report = await ask(port, wanted, transaction())
    # a UID that is asked for under two classes stands in both lists: then it is not to be believed
    assert report.committed == ()
    assert report.refused == {
        written.references[0].sop_instance_uid: 0x0110,
        known.sop_instance_uid: 0x0119,
        others.references[0].sop_instance_uid: 0x0112,
        "2.25.1": 0x0112,
    }


async def test_disposal_of_the_payloads_changes_nothing(asking: Asking) -> None:
    written = await asking.study(2)
    its = routing.studies.c.study_uid == written.study_uid
    await asking.change(routing.studies, its, disposed_at=func.now())
    assert set((await told(asking, written)).committed) == uids(written.references)


async def test_another_version_that_came_in_afterwards_is_not_committed(asking: Asking) -> None:
    written = await asking.study(2)
    [first, second] = written.references
    await asking.judged(written.study_uid, first.sop_instance_uid, "sha256:" + "f" * 64)
    await asking.judged(
        written.study_uid, second.sop_instance_uid, written.digests[1], judgement="duplicated"
    )
    report = await told(asking, written)
    assert report.committed == (second.sop_instance_uid,)
    assert report.refused == {first.sop_instance_uid: 0x0110}


async def test_what_an_archive_got_in_two_versions_is_not_committed(asking: Asking) -> None:
    written = await asking.study(2)
    # RXX forwards the study, one image of it changed on its side, to the same archive
    [same, other] = written.references
    theirs = await asking.portal.share(written.study_uid, source="RXX")
    job = await asking.portal.delivery(theirs, written.study_uid, source="RXX", state="ended")
    for reference, content in ((same, written.digests[0]), (other, "sha256:" + "e" * 64)):
        await asking.handed(job, reference, content)
    report = await told(asking, written)
    assert report.committed == (same.sop_instance_uid,)
    assert report.refused == {other.sop_instance_uid: 0x0110}
    row = await asking.row(report.transaction_uid)
    assert row.refused[0][2].startswith("the archive that committed it was sent other data")


async def test_nothing_is_said_before_all_that_came_in_is_read(asking: Asking) -> None:
    written = await asking.study(1)
    asking.judged_through = None
    taken, uid = await keep(asking, written.references)
    assert taken is Taken.NEW
    await asking.commitments.turn()
    row = await asking.row(uid)
    assert row.state == "open"
    assert row.reason == "1 of 1 instances: what came in before the question is still being read"


async def test_what_is_under_way_is_waited_for_and_answered_with_no_in_the_end(asking: Asking) -> None:
    written = await asking.study(
        1, share={"state": "delivering"}, instance={"state": "waiting"}, line={"status": "waiting"}
    )
    _, uid = await keep(asking, written.references)
    await asking.commitments.turn()
    assert (await asking.row(uid)).state == "open"
    asking.clock = timedelta(days=1, seconds=1)
    async with asking.turning():
        row = await asking.until(uid, "decided")
    assert row.refused == [[0, 0x0110, "no archive has it yet"]]


async def test_a_yes_is_taken_back_before_it_is_told(asking: Asking) -> None:
    written = await asking.study(2)
    _, uid = await keep(asking, written.references)
    await asking.commitments.turn()  # nobody listens at the sender's
    row = await asking.row(uid)
    assert (row.state, row.refused, row.attempts) == ("decided", [], 1)
    assert "was not to be had" in row.reason
    await asking.recalled(written)
    heard: list[Answer] = []

    async def tell(answer: Answer) -> None:
        heard.append(answer)

    assert await asking.commitments.answer_now(row.id, tell)
    assert uids(heard[0].committed) == {written.references[1].sop_instance_uid}
    assert [one.sop_instance_uid for one, _ in heard[0].failed] == [written.references[0].sop_instance_uid]


async def test_a_no_stays_no_for_one_transaction(asking: Asking) -> None:
    written = await asking.study(1, instance={"confirmation": "query"})
    _, uid = await keep(asking, written.references)
    await asking.commitments.turn()
    assert (await asking.row(uid)).state == "decided"
    await asking.change(
        delivery.instances, delivery.instances.c.delivery == written.delivery, confirmation="commitment"
    )
    asking.clock = timedelta(hours=1)
    await asking.commitments.turn()
    assert (await asking.row(uid)).refused[0][1] == 0x0110
    assert (await told(asking, written)).committed != ()


async def test_several_processes_share_the_questions_and_tell_each_once(asking: Asking) -> None:
    written = await asking.study(1)
    asked = {(await keep(asking, written.references))[1] for _ in range(12)}
    heard: list[str] = []

    class Sender:
        async def tell(self, node: DicomEndpoint, calling_ae: str, answer: Answer) -> None:
            assert (node.ae_title, calling_ae) == ("RQM_PACS", "IMEX")
            heard.append(answer.transaction_uid)
            await asyncio.sleep(0.01)

    processes = [asking.another(Sender()) for _ in range(3)]
    for _ in range(2):
        await asyncio.gather(*(process.turn() for process in processes))
    assert sorted(heard) == sorted(asked)
    told_of = [one for one in await asking.portal.audited() if one.action == "commitment_told"]
    assert len(told_of) == 12


async def test_what_a_process_leaves_when_it_stops_another_one_takes_up(asking: Asking) -> None:
    written = await asking.study(1)
    _, uid = await keep(asking, written.references)
    begun = asyncio.Event()

    class Silent:
        async def tell(self, node: DicomEndpoint, calling_ae: str, answer: Answer) -> None:
            begun.set()
            await asyncio.sleep(3600)

    class Sender:
        async def tell(self, node: DicomEndpoint, calling_ae: str, answer: Answer) -> None:
            pass

    stops, goes_on = asking.another(Silent()), asking.another(Sender())
    turning = asyncio.create_task(stops.turn())
    await begun.wait()
    await goes_on.turn()
    assert (await asking.row(uid)).state == "decided", "the other one has it"
    turning.cancel()
    await stops.let_go()
    await goes_on.turn()
    assert (await asking.row(uid)).state == "reported"


async def test_telling_is_given_up_and_audited(asking: Asking) -> None:
    _, uid = await keep(asking, (await asking.study(1)).references)
    await asking.commitments.turn()
    asking.clock = timedelta(days=8)
    async with asking.turning():
        row = await asking.until(uid, "unreported")
    assert row.reason.startswith("given up: an association with RQM_PACS")
    last = (await asking.portal.audited())[-1]
    assert (last.action, last.outcome) == ("commitment_told", "failure")


async def test_what_was_answered_long_ago_is_forgotten(asking: Asking) -> None:
    written = await asking.study(1)
    report = await told(asking, written)
    asking.judged_through = None
    _, waiting = await keep(asking, written.references)
    asking.clock = timedelta(days=91)
    await asking.commitments.tidy()
    assert (await asking.row(waiting)).state == "open"
    with pytest.raises(NoResultFound):
        await asking.row(report.transaction_uid)


async def test_questions_are_bounded_and_one_transaction_is_one_question(migrated_database_url: str) -> None:
    async with made(migrated_database_url, open_questions=2, instances=3) as asking:
        request = Request(transaction(), (Reference(CT, "1.2.3"),))
        other = Request(request.transaction_uid, (Reference(CT, "1.2.4"),))
        theirs = Asker("RXX", "RXX_PACS", "IMEX")

        async def taken(asker: Asker, wanted: Request) -> Taken:
            return (await asking.commitments.take(asker, wanted, patience=timedelta()))[0]

        assert await taken(SENDER, request) is Taken.NEW
        assert await taken(SENDER, request) is Taken.AGAIN
        assert await taken(SENDER, other) is Taken.ANOTHER
        assert await taken(theirs, other) is Taken.NEW  # another institution's transaction
        assert await taken(SENDER, Request(transaction(), other.references)) is Taken.NEW
        assert await taken(SENDER, Request(transaction(), other.references)) is Taken.TOO_MANY
        async with asking.listening() as port:
            for many, words in ((4, "0213"), (1, "0213")):
                with pytest.raises(CannotAsk, match=words):
                    await ask(port, [Reference(CT, f"1.2.{n}") for n in range(1, many + 1)], transaction())


async def test_who_releases_at_once_is_not_kept_waiting(asking: Asking) -> None:
    asking.judged_through = None
    node = DicomEndpoint(name="imex", type="dicom", ae_title="IMEX", host="127.0.0.1", port=1)
    nodes = Nodes("RQM_PACS")
    async with asking.listening() as port:
        began = time.monotonic()
        here = node.model_copy(update={"port": port})
        uid = transaction()
        assert await nodes.commit(here, uid, [Reference(CT, "1.2.3")], 0.0) is None
    assert time.monotonic() - began < asking.settings.same_association_s - 1
    nodes.close()
    assert (await asking.row(uid)).state == "open"


async def test_who_may_not_ask_is_not_offered_it(asking: Asking) -> None:
    async with asking.listening() as port:
        with pytest.raises(CannotAsk):
            await ask(port, [Reference(CT, "1.2.3")], transaction(), ae="RQM_CT")


async def test_orthanc_asks_and_is_told_on_another_association_over_a_restart(
    migrated_database_url: str, orthanc: tuple[Orthanc, int, int]
) -> None:
    server, port, http_port = orthanc
    async with (
        made(migrated_database_url, server.port) as asking,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{http_port}", timeout=20) as client,
    ):
        written = await asking.study(2)
        asking.judged_through = None
        wanted = [[one.sop_class_uid, one.sop_instance_uid] for one in written.references]
        async with asking.listening(port):
            answer = await client.post(
                "/modalities/imex/storage-commitment", json={"DicomInstances": [*wanted, [CT, "2.25.7"]]}
            )
        uid = answer.raise_for_status().json()["ID"]
        assert (await asking.row(uid)).state == "open"
        asking.restart()
        asking.judged_through = EVERYTHING
        async with asking.turning():
            await asking.until(uid, "reported")
        deadline = time.monotonic() + 10
        while (seen := (await client.get(f"/storage-commitment/{uid}")).json())["Status"] == "Pending":
            assert time.monotonic() < deadline
    assert seen["Status"] == "Failure"
    assert {one["SOPInstanceUID"] for one in seen["Success"]} == uids(written.references)
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in seen["Failures"]] == [("2.25.7", 0x0112)]
