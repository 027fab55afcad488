"""What is confirmed after sending: by C-FIND, by QIDO-RS, by storage commitment; with foreign peers."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from tests.integration.delivery_world import Asking, Passage, World, delivery_world, until

from imex.delivery.confirming.commitment import Patience
from imex.delivery.confirming.decide import HandedOver
from imex.delivery.confirming.listener import CommitmentListener
from imex.delivery.decide import Failing
from imex.delivery.jobs import Job
from imex.dicom.commitment import Reference, Report
from imex.dimse.tls import client_context, server_context
from imex.directory.model import DicomEndpoint
from imex.local.certificates import Certificates
from imex.local.ports import free_ports
from imex.portal.commitment.answering import Answer, NotTold
from imex.portal.commitment.node import SendersNodes
from imex.testing.archive import Archive, archive
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.peers import Orthanc

NOW = datetime.now(UTC)


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, int]]:
    """Orthanc with its DICOMweb plugin, and the port to which it reports commitments."""
    port, http_port, reports = free_ports(3)
    folder: Path = tmp_path_factory.mktemp("orthanc")
    server = Orthanc("RT3_PACS", port, http_port, folder, {"imex": ("IMEX", reports)}, dicomweb=True)
    server.start()
    yield server, reports
    server.stop()


def study(slices: int = 4) -> tuple[SyntheticStudy, Passage]:
    sent = synthetic_study(slices, size=32)
    return sent, Passage("RT3", sent.study_uid)


async def confirmations(world: World, passage: Passage) -> set[str]:
    [receipt] = await world.receipts(passage)
    assert receipt.document["complete"] is True
    return {one["confirmed_by"] for one in receipt.document["instances"]}


@asynccontextmanager
async def listening(world: World, port: int = 0) -> AsyncIterator[int]:
    """Where commitments are reported."""
    listener = CommitmentListener(world.commitments, "127.0.0.1", port)
    await listener.start()
    try:
        yield listener.port
    finally:
        await listener.stop()


async def test_orthanc_is_asked_by_c_find(world: World, orthanc: tuple[Orthanc, int]) -> None:
    sent, passage = study()
    async with world.working():
        world.endpoint("RT3", orthanc[0].port, confirm="query")
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert orthanc[0].held(sent.study_uid) == sent.digests
    assert await confirmations(world, passage) == {"query"}


@pytest.mark.parametrize("confirm", ["none", "query"])
async def test_orthanc_takes_stow_and_is_asked_by_qido(
    world: World, orthanc: tuple[Orthanc, int], confirm: str
) -> None:
    sent, passage = study(7)
    async with world.working():
        world.endpoint(
            "RT3", 0, type="dicomweb", url=orthanc[0].dicomweb, confirm=confirm, request_instances=3
        )
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert orthanc[0].held(sent.study_uid) == sent.digests
    assert await confirmations(world, passage) == {"query" if confirm == "query" else "answer"}


async def test_orthanc_commits_on_an_association_of_its_own(
    world: World, orthanc: tuple[Orthanc, int]
) -> None:
    sent, passage = study()
    asking = Asking(patience=Patience(0.2, 30.0))
    async with world.working(asking=asking), listening(world, orthanc[1]):
        world.endpoint("RT3", orthanc[0].port, confirm="commitment")
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert await confirmations(world, passage) == {"commitment"}


async def test_a_commitment_on_the_same_association(world: World) -> None:
    sent, passage = study()
    with archive(Archive()) as node:
        async with world.working():
            world.endpoint("RT3", node.port, confirm="commitment")
            await world.issue(passage, sent.instances)
            await world.until_outcome(passage, "delivered")
    assert await confirmations(world, passage) == {"commitment"}
    assert node.report_statuses == [0x0000]
    assert len(node.stores) == 4


async def test_a_commitment_that_comes_later_ends_the_waiting(world: World) -> None:
    sent, passage = study()
    behaves = Archive(reports="new")
    asking = Asking(patience=Patience(0.0, 60.0))
    with archive(behaves) as node:
        async with world.working(asking=asking), listening(world) as port:
            behaves.report_to = port
            world.endpoint("RT3", node.port, confirm="commitment")
            await world.issue(passage, sent.instances)
            await world.until_outcome(passage, "delivered")
    assert await confirmations(world, passage) == {"commitment"}
    assert node.report_statuses == [0x0000]
    assert node.finds_asked == 0


@pytest.mark.parametrize("secured", [True, False])
async def test_reports_come_over_tls_too_and_only_of_what_was_asked(
    world: World, tmp_path: Path, secured: bool
) -> None:
    issued = Certificates(tmp_path)
    ours, theirs = issued.server(), issued.client("RT3")
    nodes = SendersNodes(lambda: client_context(issued.ca, theirs.certificate, theirs.key))
    server = server_context(ours.certificate, ours.key, issued.ca)
    with archive(Archive(reports="never")) as behaves:
        async with world.working(asking=Asking(patience=Patience(0.1, 60.0))):
            listener = CommitmentListener(world.commitments, "127.0.0.1", 0, 0, lambda: server)
            await listener.start()
            port = listener.tls_port if secured else listener.port
            node = DicomEndpoint(
                name="imex", type="dicom", ae_title="IMEX", host="127.0.0.1", port=port, tls=secured
            )
            endpoint = node.model_copy(update={"port": behaves.port, "ae_title": "RT3_PACS", "tls": False})
            one = HandedOver("1.2.3", "sha256:a", "1.2.840.1", "1.2", "1.2.3", "0000", "", NOW, True, 0)
            job = nobodys_job()
            await world.commitments.told(job, endpoint, [one])
            [transaction] = behaves.transactions
            reference = Reference(one.sop_class_uid, one.sent_uid)
            with pytest.raises(NotTold, match="answered the report with 0115"):
                await nodes.tell(node, "RT3_PACS", Answer("2.25.1", (reference,), ()))
            await nodes.tell(node, "RT3_PACS", Answer(transaction, (reference,), ()))
            assert (await world.commitments.told(job, endpoint, [one])).committed == {"1.2.3"}
            await listener.stop()
    nodes.close()


async def test_what_is_not_committed_is_sent_again(world: World) -> None:
    sent, passage = study()
    bad = sent.instances[1].sop_instance_uid
    times = iter([False])
    behaves = Archive(keeps=lambda uid: uid != bad or next(times, True))
    with archive(behaves) as node:
        async with world.working():
            world.endpoint("RT3", node.port, confirm="commitment")
            await world.issue(passage, sent.instances)
            row = await world.until_failing(passage)
            assert "1 not confirmed: taken, and not committed (0112 no such object instance)" in row.reason
            await world.until_outcome(passage, "delivered")
    assert sorted(node.stores) == sorted([*sent.digests, bad])
    assert len(node.transactions) == 2


async def test_a_commitment_that_never_comes_falls_back_to_a_query(world: World) -> None:
    sent, passage = study()
    asking = Asking(patience=Patience(0.1, 1.0))
    with archive(Archive(reports="never")) as node:
        async with world.working(asking=asking):
            world.endpoint("RT3", node.port, confirm="commitment")
            await world.issue(passage, sent.instances)
            row = await until(lambda: world.row(passage), lambda row: "waits for" in row.reason)
            assert row.reason == "waits for the storage commitment of 4 instances"
            assert row.outcome is None
            await world.until_outcome(passage, "delivered")
    assert await confirmations(world, passage) == {"query"}
    assert len(node.stores) == 4


async def test_without_commitment_and_query_nothing_is_ever_delivered(world: World) -> None:
    sent, passage = study()
    with archive(Archive(commits=False, finds=False)) as node:
        async with world.working():
            world.endpoint("RT3", node.port, confirm="commitment")
            await world.issue(passage, sent.instances)
            row = await world.until_failing(passage)
            row = await until(lambda: world.row(passage), lambda row: row.failures >= 2)
    assert "not confirmed: RT3_PACS takes none of what it is asked for" in row.reason
    assert row.outcome is None
    assert {one.state for one in (await world.instances(passage)).values()} == {"sent"}
    assert len(node.stores) == 4


def nobodys_job() -> Job:
    return Job(
        id=uuid4(),
        share=uuid4(),
        source="RQM",
        study_uid="1.2",
        recipient="RT3",
        endpoint="pacs",
        lane="bulk",
        priority="routine",
        attempt=1,
        failing=Failing(0, None),
        created_at=NOW,
        started_at=NOW,
        expires_at=NOW,
        ae_title="RT3_PACS",
        lease="",
        traceparent="",
    )


async def test_a_question_about_an_older_copy_answers_for_no_newer_one(world: World) -> None:
    behaves = Archive(reports="never")
    with archive(behaves) as node:
        async with world.working(asking=Asking(patience=Patience(0.1, 60.0))):
            endpoint = DicomEndpoint(
                name="pacs", type="dicom", ae_title="RT3_PACS", host="127.0.0.1", port=node.port
            )
            job = nobodys_job()
            older, newer = (
                HandedOver("1.2.3", digest, "1.2.840.1", "1.2", "1.2.3", "0000", "", NOW, True, 0)
                for digest in ("sha256:a", "sha256:b")
            )
            assert (await world.commitments.told(job, endpoint, [older])).waits_s > 0
            assert (await world.commitments.told(job, endpoint, [older])).waits_s > 0
            [first] = behaves.transactions
            await world.commitments.told(job, endpoint, [newer])
            [_, second] = behaves.transactions
            assert await world.commitments.take(Report(first, ("1.2.3",), {}))
            told = await world.commitments.told(job, endpoint, [newer])
            assert (told.committed, told.silent) == (set(), {"1.2.3"})
            assert told.waits_s > 0
            assert await world.commitments.take(Report(second, ("1.2.3",), {}))
            assert (await world.commitments.told(job, endpoint, [newer])).committed == {"1.2.3"}


async def test_a_report_of_nobodys_transaction_is_refused(world: World) -> None:
    async with world.working():
        assert not await world.commitments.take(Report("1.2.3", ("1.2.3.4",), {}))


async def test_who_loses_what_it_took_is_found_out_by_c_find(world: World) -> None:
    sent, passage = study(3)
    with archive(Archive(keeps=lambda _: False)) as node:
        async with world.working():
            world.endpoint("RT3", node.port, confirm="query")
            await world.issue(passage, sent.instances)
            row = await world.until_outcome(passage, "failed", 30)
    assert "3 × given up: taken by the destination 3 times" in row.reason
    assert len(node.stores) == 9


@asynccontextmanager
async def cutting(archive_port: int, answers: int) -> AsyncIterator[int]:
    """In front of an archive: of the first C-STORE association, it cuts off behind so many answers.

    Everything that the sender says reaches the archive; its next answer reaches nobody.
    """
    cut = False

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal cut
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", archive_port)

        async def out() -> None:
            while data := await reader.read(65536):
                there_writer.write(data)
            there_writer.close()

        sending = asyncio.create_task(out())
        left = answers
        try:
            while True:
                kind, length = struct.unpack(">BxI", head := await there_reader.readexactly(6))
                body = await there_reader.readexactly(length)
                if kind == 0x04 and not cut:
                    if left == 0:
                        cut = True
                        writer.transport.abort()
                        return
                    left -= 1
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            sending.cancel()
            there_writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_an_answer_to_a_c_store_that_is_lost_is_asked_for(world: World) -> None:
    sent, passage = study(5)
    with archive(Archive()) as node:
        async with world.working(), cutting(node.port, 2) as port:
            world.endpoint("RT3", port, confirm="query", accepts={"max_associations": 1})
            await world.issue(passage, sent.instances)
            await world.until_outcome(passage, "delivered")
    assert sorted(node.stores) == sorted(sent.digests)  # none twice
    assert await confirmations(world, passage) == {"query"}
    told = [one.reason for one in (await world.instances(passage)).values() if one.reason]
    assert told == ["the answer to the sending is not known; a query found it there"]


async def test_a_lost_answer_to_a_c_store_is_repeated_where_nobody_can_be_asked(
    world: World,
) -> None:
    sent, passage = study(5)
    receiver = DimseRecorder()
    async with acceptor(receiver) as node, world.working(), cutting(node.port, 2) as port:
        world.endpoint("RT3", port, accepts={"max_associations": 1})
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert len(receiver.commands) == 6  # one twice, with the same bytes
    assert {uid: "sha256:" + got.sha256 for uid, got in receiver.stored.items()} == sent.digests
    assert await confirmations(world, passage) == {"answer"}


async def test_who_dies_before_the_first_answer_gets_everything_once(world: World) -> None:
    """Nothing of the first association is answered."""
    sent, passage = study(4)

    with archive(Archive()) as node:
        async with world.working(), cutting(node.port, 0) as port:
            world.endpoint("RT3", port, confirm="query", accepts={"max_associations": 1})
            await world.issue(passage, sent.instances)
            await world.until_outcome(passage, "delivered")
    assert sorted(node.stores) == sorted(sent.digests)
