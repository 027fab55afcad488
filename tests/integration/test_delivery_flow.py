"""Deliveries over real associations, with their state in a real PostgreSQL."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.delivery_world import Asking, Passage, World, delivery_world, storescp, uids, until

from imex.delivery.confirming.asking import CannotAsk
from imex.delivery.confirming.dimse import Nodes
from imex.delivery.leases import Leases
from imex.delivery.payloads import ReadAhead
from imex.dicom import dataset_digest
from imex.dicom.rewriting import IMPLICIT
from imex.dimse import Limits, Reject, StoreCommand, StoreResponse, open_association
from imex.dimse.sop_classes import VERIFICATION
from imex.events.audit import AuditRecorded
from imex.events.deliveries import (
    DeliveryAttempted,
    DeliveryCompleted,
    DeliveryEnded,
    DeliveryProgressed,
)
from imex.events.manifests import ManifestIssued, ManifestIssuedData
from imex.local.ports import free_ports
from imex.receipts.signature import verify
from imex.testing.dicom import SyntheticInstance, SyntheticStudy, synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def withdraw_at(
    count: int, receiver: DimseRecorder, act: Callable[[], Awaitable[None]]
) -> Callable[[StoreCommand], Awaitable[StoreResponse]]:
    """Have a receiver do something while it stores its `count`th instance."""

    async def on_commit(_: StoreCommand) -> StoreResponse:
        if len(receiver.stored) == count:
            await act()
        return StoreResponse()

    return on_commit


def digests_in(directory: Path) -> list[str]:
    return sorted(dataset_digest(path.read_bytes()) for path in directory.iterdir())


def study(slices: int) -> SyntheticStudy:
    return synthetic_study(slices, size=32)


async def test_a_study_is_delivered_with_its_receipt(world: World) -> None:
    receiver, sent, passage = DimseRecorder(), study(30), Passage("RT3")
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "delivered")

    assert {uid: "sha256:" + got.sha256 for uid, got in receiver.stored.items()} == sent.digests
    assert len(receiver.requests) <= 2  # a second one where there is enough for it
    assert {request.calling_ae for request in receiver.requests} == {"IMEX"}
    assert row.attempts == 1
    [receipt] = await world.receipts(passage)
    assert receipt.document["complete"] is True
    assert receipt.document["destination"] == {
        "recipient": "RT3", "endpoint": "pacs", "ae_title": "RT3_PACS"
    }  # fmt: skip
    assert {one["sop_instance_uid"]: one["digest"] for one in receipt.document["instances"]} == sent.digests
    verify(receipt.document, receipt.signature, world.signer.public_jwk)


async def test_events_tell_of_every_step(world: World) -> None:
    receiver, sent, passage = DimseRecorder(), study(120), Passage("RT3")
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")

    progressed = await world.events(DeliveryProgressed)
    outcomes = [one for event in progressed for one in event.data.outcomes]
    assert {one.sop_instance_uid for one in outcomes} == uids(sent.instances)
    assert len(outcomes) == 120
    assert {one.state for one in outcomes} == {"confirmed"}
    [attempted] = await world.events(DeliveryAttempted)
    assert (attempted.data.outcome, attempted.data.confirmed) == ("succeeded", 120)
    [completed] = await world.events(DeliveryCompleted)
    assert (completed.data.confirmed, completed.data.failed, completed.data.revision) == (120, 0, 1)
    [audited] = await world.events(AuditRecorded)
    assert audited.source == "/imex/delivery"
    assert (audited.data.action, audited.data.counts) == (
        "instances_sent", {"confirmed": 120, "failed": 0}
    )  # fmt: skip
    assert audited.data.details["ae_title"] == "RT3_PACS"


async def test_a_receiver_that_is_down_gets_its_study_when_it_is_back(world: World) -> None:
    receiver, sent, passage = DimseRecorder(), study(5), Passage("RT3")
    [port] = free_ports(1)
    world.endpoint("RT3", port)
    async with world.working():
        await world.issue(passage, sent.instances)
        row = await world.until_failing(passage)
        assert "connection refused" in row.reason
        async with acceptor(receiver) as node:
            world.endpoint("RT3", node.port)
            row = await world.until_outcome(passage, "delivered")

    attempts = await world.events(DeliveryAttempted)
    assert [one.data.outcome for one in attempts][-1] == "succeeded"
    assert attempts[0].data.next_attempt_at is not None
    assert row.failures == 0


async def test_a_dead_destination_does_not_slow_another(world: World) -> None:
    receiver = DimseRecorder()
    [dead] = free_ports(1)
    stuck = [Passage("RXX") for _ in range(6)]
    flowing = [Passage("RT3") for _ in range(6)]
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RXX", dead)
        world.endpoint("RT3", node.port)
        for dead_end, passage in zip(stuck, flowing, strict=True):
            await world.issue(dead_end, study(2).instances)
            await world.issue(passage, study(2).instances)
        for passage in flowing:
            await world.until_outcome(passage, "delivered")
        # the rest of them waits until one has found it back
        failing = [await world.row(passage) for passage in stuck]
        assert any(row.failures >= 1 for row in failing)


async def test_one_refused_instance_fails_and_the_rest_flows(world: World) -> None:
    sent, passage = study(10), Passage("RT3")
    bad = sent.instances[3].sop_instance_uid

    def refuse(command: StoreCommand) -> StoreResponse | None:
        return StoreResponse(0xA900, "no") if command.sop_instance_uid == bad else None

    receiver = DimseRecorder(on_store=refuse)
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "partial")
        assert set(receiver.stored) == uids(sent.instances) - {bad}
        assert "1 not delivered" in row.reason
        assert "A900 data set does not match SOP class" in row.reason
        [receipt] = await world.receipts(passage)
        assert receipt.document["complete"] is False

        receiver.on_store = lambda _: None
        await world.hand_in(world.command(passage, "retry"))
        await world.until_outcome(passage, "delivered")

    assert len([one for one in receiver.commands if one.sop_instance_uid == bad]) == 2
    assert [one.document["complete"] for one in await world.receipts(passage)] == [False, True]
    revisions = [event.data.revision for event in await world.events(DeliveryCompleted)]
    assert revisions == [1, 2]


async def test_out_of_resources_is_waited_out(world: World) -> None:
    sent, passage = study(6), Passage("RT3")
    receiver = DimseRecorder(on_store=lambda _: StoreResponse(0xA700, "disk"))
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        row = await world.until_failing(passage)
        assert row.reason == "A700 out of resources"
        assert len(receiver.commands) == 3  # a full destination is not offered the whole study
        receiver.on_store = lambda _: None
        await world.until_outcome(passage, "delivered")
    assert set(receiver.stored) == uids(sent.instances)


async def test_a_syntax_that_is_not_accepted_is_named(world: World, tmp_path: Path) -> None:
    native, passage = study(3), Passage("RT3")
    other = SyntheticInstance("1.2.840.10008.5.1.4.1.1.2", "2.25.77", "1.2.840.10008.1.2.4.90", b"\0" * 64)
    async with storescp(tmp_path) as port, world.working():  # takes uncompressed syntaxes only
        world.endpoint("RT3", port)
        await world.issue(passage, [*native.instances, other])
        await world.until_outcome(passage, "partial")
    assert digests_in(tmp_path) == sorted(native.digests.values())
    failed = (await world.instances(passage))["2.25.77"]
    assert failed.state == "failed"
    assert "JPEG 2000" in failed.reason
    assert "CT Image Storage" in failed.reason


async def test_a_payload_that_was_changed_is_not_sent(world: World) -> None:
    sent, passage = study(4), Passage("RT3")
    receiver = DimseRecorder()
    async with acceptor(receiver) as node:
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        tampered = (await world.instances(passage))[sent.instances[1].sop_instance_uid]
        content = bytearray(await world.store.get(tampered.object_key))
        content[-1] ^= 0xFF
        await world.store.put(tampered.object_key, bytes(content))
        missing = (await world.instances(passage))[sent.instances[2].sop_instance_uid]
        await world.store.delete(missing.object_key)
        async with world.working():
            await world.until_outcome(passage, "partial")
    kept = {sent.instances[0].sop_instance_uid, sent.instances[3].sop_instance_uid}
    assert set(receiver.stored) == kept
    found = await world.instances(passage)
    assert found[tampered.sop_instance_uid].reason == "payload in the store does not match its digest"
    assert found[missing.sop_instance_uid].reason == "payload is not in the store"


async def test_a_large_payload_is_streamed_and_a_changed_one_never_arrives(world: World) -> None:
    good, bad = synthetic_study(1, size=600), synthetic_study(1, size=600)
    passage, receiver = Passage("RT3"), DimseRecorder()
    async with acceptor(receiver) as node:
        world.endpoint("RT3", node.port)
        await world.issue(passage, [*good.instances, *bad.instances])
        key = (await world.instances(passage))[bad.instances[0].sop_instance_uid].object_key
        content = bytearray(await world.store.get(key))
        content[-9] ^= 0xFF
        await world.store.put(key, bytes(content))
        async with world.working(read_ahead=ReadAhead(2, 1 << 20, 1 << 16)):
            await world.until_outcome(passage, "partial")
    [stored] = receiver.stored.values()
    assert hashlib.sha256(good.instances[0].dataset).hexdigest() == stored.sha256


async def test_a_rejected_association_says_why(world: World) -> None:
    receiver = DimseRecorder(on_admit=lambda _: Reject(1, 1, 7))
    passage = Passage("RT3")
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, study(1).instances)
        row = await world.until_failing(passage)
    assert "called AE title not recognised" in row.reason


async def test_endpoints_that_cannot_be_delivered_to_say_so_and_are_tried_again(world: World) -> None:
    passage, unknown, web = Passage("RT3"), Passage("RZZ"), Passage("RWW")
    world.endpoint("RWW", 1, type="dicomweb", url="http://127.0.0.1:1/dicom-web")
    async with acceptor(receiver := DimseRecorder()) as node, world.working():
        for one in (passage, unknown, web):
            await world.issue(one, study(1).instances)
        row = await world.until_failing(web)
        assert "127.0.0.1:1: connection refused" in row.reason
        row = await world.until_failing(unknown)
        assert row.reason == "recipient RZZ is not in the directory"
        world.endpoint("RT3", node.port)
        await world.until_outcome(passage, "delivered")
    assert len(receiver.stored) == 1


async def test_what_is_withdrawn_stops_midway(world: World) -> None:
    sent, passage = study(200), Passage("RT3")
    receiver = DimseRecorder()
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        receiver.on_commit = withdraw_at(20, receiver, lambda: world.hand_in(world.withdrawal(passage)))
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "cancelled")
    states = [row.state for row in (await world.instances(passage)).values()]
    assert 0 < states.count("waiting") < 200
    assert states.count("confirmed") == len(receiver.stored)
    [ended] = await world.events(DeliveryEnded)
    assert (ended.data.outcome, ended.data.reason) == ("cancelled", "the share was revoked")
    assert ended.data.confirmed == len(receiver.stored)


async def test_a_part_that_is_replayed_behind_its_withdrawal_does_not_leave(world: World) -> None:
    passage = Passage("RT3")
    listed = await world.listed(passage, study(1).instances)
    await world.hand_in(world.withdrawal(passage))
    await world.hand_in(*listed)
    await world.hand_in(world.command(passage, "retry"))
    row = await world.row(passage)
    assert (row.withdrawn, row.state) == (True, "ended")
    leases = Leases(world.database, "one", timedelta(seconds=12))
    assert await leases.due() == []


async def test_a_late_part_gives_the_receipt_a_new_revision(world: World) -> None:
    first, late, passage = study(3), study(2), Passage("RT3")
    async with acceptor(DimseRecorder()) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, first.instances)
        await world.until_outcome(passage, "delivered")
        await world.issue(passage, late.instances)
        await until(lambda: world.receipts(passage), lambda found: len(found) == 2)
    newest = (await world.receipts(passage))[-1]
    assert newest.document["revision"] == 2
    assert len(newest.document["instances"]) == 5


async def test_an_agreement_that_takes_over_is_the_one_that_is_asked(world: World) -> None:
    passage = Passage("RT3", agreement="a1")
    async with acceptor(receiver := DimseRecorder()) as node:
        world.endpoint("RT3", node.port)
        world.agreements({"id": "a9", "from": ["RQM"], "to": ["RT3"], "purposes": ["direct-care"]})
        [issued, closed] = await world.listed(passage, study(2).instances)
        rested = ManifestIssuedData(
            **passage.about(),
            part=0,
            priority=passage.priority,
            directory_version="1" * 64,
            agreement="a9",
            instances=(),
        )
        await world.hand_in(issued, closed)
        await world.hand_in(ManifestIssued.of(id=uuid4(), subject=str(passage.id), data=rested))
        async with world.working():
            row = await world.until_outcome(passage, "delivered")
    assert (row.agreement, row.parts, len(receiver.stored)) == ("a9", 1, 2)


async def test_nothing_is_connected_to_a_network_that_the_deployment_denies(world: World) -> None:
    """However it is asked: by C-STORE, by a C-FIND that confirms, by STOW-RS, or for an access token."""
    dicom: dict[str, Any] = {"host": "169.254.169.254"}
    web: dict[str, Any] = {"type": "dicomweb"}
    passages = []
    oauth2 = {"token_url": "http://169.254.169.254/token", "client_id": "imex", "secret": "s"}
    for number, facts in enumerate(
        (
            dicom,
            web | {"url": "http://169.254.169.254/dicom-web"},
            web | {"url": "http://127.0.0.1:9/dicom-web", "oauth2": oauth2},
        )
    ):
        passage = Passage(f"RT{number}")
        world.endpoint(passage.recipient, 104, **facts)
        await world.issue(passage, synthetic_study(1, size=32).instances)
        passages.append(passage)
    async with world.working(asking=Asking(secrets={"s": "secret"})):
        for passage in passages:
            row = await world.until_failing(passage)
            assert "169.254.169.254 is in a network to which nothing may be connected" in row.reason
    nodes = Nodes("IMEX")
    endpoint = world.directory.endpoint_for("RT0", "pacs") if world.directory else None
    assert endpoint is not None
    with pytest.raises(CannotAsk, match="to which nothing may be connected"):
        await nodes.held(endpoint, "1.2.3", frozenset({"1.2.3.4"}))
    nodes.close()


async def test_a_host_is_reached_at_any_of_its_addresses_that_takes_a_connection() -> None:
    async def addresses(_host: str, _port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]  # nobody listens at the first

    async with acceptor(DimseRecorder()) as node:
        association = await open_association(
            "pacs.example",
            node.port,
            "IMEX",
            "RT3_PACS",
            [(VERIFICATION, [IMPLICIT])],
            Limits(connect_s=2.0),
            addresses=addresses,
        )
        assert await association.echo() == 0
        await association.release()
