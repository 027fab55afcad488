"""How delivery uses associations: kept, several at a time, refused, broken, secured, by several processes."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from tests.integration.delivery_world import Passage, World, delivery_world, storescp, uids

from imex.db.tables.delivery import refusals
from imex.delivery.targets.certificates import Certificates as Shown
from imex.dicom import dataset_offset
from imex.dicom.rewriting import EXPLICIT, IMPLICIT, rewrite
from imex.dimse import Edge, Reject, StoreCommand, StoreResponse, serve
from imex.dimse.tls import server_context
from imex.events.deliveries import DeliveryAttempted, DeliveryProgressed
from imex.local.certificates import Certificates
from imex.settings import S3Settings
from imex.storage import MinioStore
from imex.testing.dicom import SyntheticInstance, synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.parts import MinioPart

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_2000 = "1.2.840.10008.1.2.4.90"


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def of(sop_class: str, number: int, syntax: str = EXPLICIT) -> SyntheticInstance:
    return SyntheticInstance(sop_class, f"2.25.{number}", syntax, b"\x08\x00\x05\x00CS\x02\x00  ")


def stored_in(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.iterdir()]


class Crowd:
    """A receiver that counts how many data sets it stores at a time."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.recorder = DimseRecorder(on_commit=self.commit)
        self.now = self.most = 0
        self._seconds = seconds

    async def commit(self, _: StoreCommand) -> StoreResponse:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self._seconds)
        self.now -= 1
        return StoreResponse()


async def test_deliveries_one_after_the_other_share_an_association(world: World) -> None:
    receiver = DimseRecorder()
    async with acceptor(receiver) as node, world.working(idle_s=20.0):
        world.endpoint("RT3", node.port)
        for number in range(4):
            passage = Passage("RT3")
            await world.issue(passage, [of(CT, number)])
            await world.until_outcome(passage, "delivered")
        assert len(receiver.requests) == 1
        other = Passage("RT3")  # another SOP class: the old association ends before the new one begins
        await world.issue(other, [of("1.2.840.10008.5.1.4.1.1.4", 9)])
        await world.until_outcome(other, "delivered")
        assert len(receiver.requests) == 2
        assert len(receiver.ended) == 1
        again = Passage("RT3")  # what was asked for before is asked for again
        await world.issue(again, [of(CT, 10)])
        await world.until_outcome(again, "delivered")
        assert len(receiver.requests) == 2
    await receiver.wait(lambda: len(receiver.ended) == 2)
    assert {ended.kind for ended in receiver.ended} == {"released"}


async def test_an_association_that_nobody_needs_ends(world: World) -> None:
    receiver = DimseRecorder()
    async with acceptor(receiver) as node, world.working(idle_s=0.2):
        world.endpoint("RT3", node.port)
        passage = Passage("RT3")
        await world.issue(passage, [of(CT, 1)])
        await receiver.wait(lambda: len(receiver.ended) == 1)
    assert receiver.ended[0].kind == "released"


async def test_an_association_that_the_peer_has_dropped_is_nobodys_failure(world: World) -> None:
    receiver = DimseRecorder()
    async with world.working(idle_s=20.0):
        async with acceptor(receiver) as node:
            world.endpoint("RT3", node.port)
            first = Passage("RT3")
            await world.issue(first, [of(CT, 1)])
            await world.until_outcome(first, "delivered")
        async with AsyncExitStack() as stack:
            back = await serve("127.0.0.1", node.port, receiver)
            stack.push_async_callback(back.close)
            second = Passage("RT3")
            await world.issue(second, [of(CT, 2)])
            await world.until_outcome(second, "delivered")
    outcomes = [one.data.outcome for one in await world.events(DeliveryAttempted)]
    assert outcomes == ["succeeded", "succeeded"]


async def test_a_study_goes_over_two_associations_at_once(world: World) -> None:
    crowd, sent, passage = Crowd(), synthetic_study(80, size=32), Passage("RT3")
    async with acceptor(crowd.recorder) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert crowd.most == 2
    assert len(crowd.recorder.requests) == 2
    assert len(crowd.recorder.commands) == 80
    outcomes = [one for event in await world.events(DeliveryProgressed) for one in event.data.outcomes]
    assert {one.sop_instance_uid for one in outcomes} == uids(sent.instances)
    assert len(outcomes) == 80


async def test_a_destination_that_takes_one_association_gets_one(world: World) -> None:
    crowd, sent, passage = Crowd(0.002), synthetic_study(60, size=32), Passage("RT3")
    async with acceptor(crowd.recorder) as node, world.working():
        world.endpoint("RT3", node.port, accepts={"max_associations": 1})
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert crowd.most == 1
    assert len(crowd.recorder.requests) == 1


async def test_a_second_association_that_is_rejected_costs_nothing(world: World) -> None:
    crowd, sent, passage = Crowd(0.002), synthetic_study(60, size=32), Passage("RT3")
    recorder = crowd.recorder
    recorder.on_admit = lambda _: Reject(2, 3, 2) if len(recorder.requests) > 1 else None
    async with acceptor(recorder) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "delivered")
    assert row.attempts == 1
    assert len(recorder.requests) == 2


async def test_a_wide_delivery_makes_room_for_another(world: World) -> None:
    crowd = Crowd()
    long, short = Passage("RT3"), Passage("RT3")
    async with acceptor(crowd.recorder) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(long, synthetic_study(200, size=32).instances)
        await crowd.recorder.wait(lambda: crowd.most == 2)
        await world.issue(short, [of(CT, 1)])
        await world.until_outcome(short, "delivered")
        assert (await world.row(long)).state == "running"
        await world.until_outcome(long, "delivered")
    assert crowd.most == 2
    assert len(crowd.recorder.commands) == 201


async def test_one_instance_that_breaks_the_association_holds_up_nothing(world: World) -> None:
    sent, passage = synthetic_study(30, size=32), Passage("RT3")
    bad = sent.instances[4].sop_instance_uid
    broken = True

    async def breaks(command: StoreCommand) -> None:
        if command.sop_instance_uid == bad and broken:
            await asyncio.Event().wait()  # until the sender's patience is at its end

    receiver = DimseRecorder(on_write=breaks)
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        row = await world.until_failing(passage)
        assert row.attempts == 1
        assert set(receiver.stored) == uids(sent.instances) - {bad}
        broken = False
        await world.until_outcome(passage, "delivered")
    assert max(Counter(one.sop_instance_uid for one in receiver.commands).values()) == 2


async def test_a_refused_transfer_syntax_is_learnt_and_forgotten(world: World, tmp_path: Path) -> None:
    first, second = Passage("RT3"), Passage("RT3")
    async with world.working():
        async with storescp(tmp_path) as port:  # takes uncompressed syntaxes only
            world.endpoint("RT3", port)
            await world.issue(first, [of(CT, 1, JPEG_2000)])
            await world.until_outcome(first, "failed")
        # nobody listens any more, and nobody is asked
        await world.issue(second, [of(CT, 2, JPEG_2000)])
        row = await world.until_outcome(second, "failed")
        assert "JPEG 2000" in row.reason
        async with world.database.look() as connection:
            known = (await connection.execute(select(refusals))).all()
        assert [(one.sop_class_uid, one.transfer_syntax) for one in known] == [(CT, JPEG_2000)]
        await world.hand_in(world.command(second, "retry"))  # a person's wish asks again
        row = await world.until_failing(second)
        assert "connection refused" in row.reason


async def test_what_was_learnt_is_asked_for_again_after_a_while(world: World, tmp_path: Path) -> None:
    first, second = Passage("RT3"), Passage("RT3")
    async with world.working(refusals_s=0.2):
        async with storescp(tmp_path) as port:
            world.endpoint("RT3", port)
            await world.issue(first, [of(CT, 1, JPEG_2000)])
            await world.until_outcome(first, "failed")
        await asyncio.sleep(0.3)
        await world.issue(second, [of(CT, 2, JPEG_2000)])
        assert "connection refused" in (await world.until_failing(second)).reason


async def test_a_rejection_is_shared_by_all_deliveries(world: World) -> None:
    receiver = DimseRecorder(on_admit=lambda _: Reject(1, 1, 7))
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        for number in range(3):
            passage = Passage("RT3")
            await world.issue(passage, [of(CT, number)])
            row = await world.until_failing(passage)
            assert "called AE title not recognised" in row.reason
    assert len(receiver.requests) == 1


async def test_what_a_node_does_not_take_as_it_is_is_rewritten(world: World, tmp_path: Path) -> None:
    sent, passage = synthetic_study(3, size=32), Passage("RT3")
    assert {one.transfer_syntax for one in sent.instances} == {EXPLICIT}
    async with storescp(tmp_path, "+xi") as port, world.working():  # takes Implicit VR only
        world.endpoint("RT3", port)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    arrived = stored_in(tmp_path)
    expected = [rewrite(memoryview(one.dataset), EXPLICIT, IMPLICIT) for one in sent.instances]
    assert sorted(one[dataset_offset(one) :] for one in arrived) == sorted(expected)
    rows = (await world.instances(passage)).values()
    assert {row.reason for row in rows} == {
        "sent in Implicit VR Little Endian (1.2.840.10008.1.2)"
    }  # fmt: skip


async def test_what_the_directory_does_not_list_is_not_sent(world: World) -> None:
    receiver, passage = DimseRecorder(), Passage("RT3")
    async with acceptor(receiver) as node, world.working():
        accepts = {"transfer_syntaxes": [EXPLICIT, IMPLICIT], "sop_classes": [CT]}
        world.endpoint("RT3", node.port, accepts=accepts)
        await world.issue(passage, [of(CT, 1), of(CT, 2, JPEG_2000), of("1.2.840.10008.5.1.4.1.1.4", 3)])
        await world.until_outcome(passage, "partial")
    assert set(receiver.stored) == {"2.25.1"}
    found = await world.instances(passage)
    assert "directory entry does not accept" in found["2.25.2"].reason
    assert "MR Image Storage" in found["2.25.3"].reason


async def test_a_rate_is_kept_over_all_associations(world: World) -> None:
    receiver, passage = DimseRecorder(keep=False), Passage("RT3")
    sent = synthetic_study(40, size=64)
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port, accepts={"max_mbps": 2.0})
        began = time.monotonic()
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
        took = time.monotonic() - began
    assert took > 0.9 * 8e-6 * sum(len(one.dataset) for one in sent.instances) / 2.0 - 0.5


@pytest.fixture
def issued(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_a_node_with_tls_sees_our_certificate(world: World, issued: Certificates) -> None:
    receiver, sent, passage = DimseRecorder(), synthetic_study(12, size=32), Passage("RT3")
    server, client = issued.server(), issued.client("IMX")
    edge = Edge(tls_port=0, tls=lambda: server_context(server.certificate, server.key, issued.ca))
    shown = Shown(issued.ca, client.certificate, client.key)
    node = await serve("127.0.0.1", None, receiver, edge=edge)
    try:
        async with world.working(tls=shown.context):
            world.endpoint("RT3", node.tls_port or 0, tls=True)
            await world.issue(passage, sent.instances)
            await world.until_outcome(passage, "delivered")
    finally:
        await node.close()
    assert {uid: "sha256:" + got.sha256 for uid, got in receiver.stored.items()} == sent.digests
    assert all(request.peer_certificate for request in receiver.requests)


async def test_a_node_that_nobody_vouches_for_gets_nothing(
    world: World, issued: Certificates, tmp_path: Path
) -> None:
    server, passage = issued.server(), Passage("RT3")
    stranger = Certificates(tmp_path / "other")
    client = stranger.client("IMX")
    edge = Edge(tls_port=0, tls=lambda: server_context(server.certificate, server.key, issued.ca))
    node = await serve("127.0.0.1", None, receiver := DimseRecorder(), edge=edge)
    try:
        async with world.working(tls=Shown(stranger.ca, client.certificate, client.key).context):
            world.endpoint("RT3", node.tls_port or 0, tls=True)
            await world.issue(passage, [of(CT, 1)])
            row = await world.until_failing(passage)
    finally:
        await node.close()
    assert "certificate" in row.reason
    assert receiver.requests == []


async def test_a_node_that_wants_tls_is_not_sent_to_without(world: World) -> None:
    passage = Passage("RT3")
    async with world.working():
        world.endpoint("RT3", 1, tls=True)
        await world.issue(passage, [of(CT, 1)])
        row = await world.until_failing(passage)
    assert "IMEX_DELIVERY_TLS_CA is not set" in row.reason


@asynccontextmanager
async def processes(number: int, arguments: Sequence[str]) -> AsyncIterator[None]:
    """So many delivery processes."""
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.delivery_child", *arguments, f"process-{place}")
        )
        for place in range(number)
    ]
    try:
        yield
    finally:
        for one in started:
            one.terminate()
        await asyncio.gather(*(one.wait() for one in started))


async def test_four_processes_send_everything_once_and_keep_the_limit(
    empty_database_url: str, minio: MinioPart
) -> None:
    store = MinioStore(
        S3Settings(
            endpoint=minio.endpoint, access_key=minio.access_key, secret_key=SecretStr(minio.secret_key)
        )
    )
    await store.ensure_bucket()
    crowd = Crowd(0.003)
    open_now = most_open = 0

    def admit(_: object) -> None:
        nonlocal most_open
        most_open = max(most_open, len(crowd.recorder.requests) - len(crowd.recorder.ended))

    crowd.recorder.on_admit = admit
    async with delivery_world(empty_database_url, store) as world, acceptor(crowd.recorder) as node:
        passages = [Passage("RT3") for _ in range(16)]
        sent = [synthetic_study(4 + 3 * place, size=32) for place in range(16)]
        arguments = (
            empty_database_url, str(node.port), minio.endpoint, minio.access_key, minio.secret_key
        )  # fmt: skip
        async with processes(4, arguments):
            for passage, study in zip(passages, sent, strict=True):
                await world.issue(passage, study.instances)
            for passage in passages:
                await world.until_outcome(passage, "delivered", 60)
    assert open_now == 0
    assert most_open <= 2
    times = Counter(one.sop_instance_uid for one in crowd.recorder.commands)
    assert set(times) == {uid for study in sent for uid in uids(study.instances)}
    assert set(times.values()) == {1}
    await store.close()
