"""What happens to associations and instances, with every part outside a fake."""

import hashlib
import io
from collections.abc import Callable
from typing import Any

import pydicom
import pytest

from imex.dicom import dataset_digest, dataset_offset
from imex.dimse import Accept, Ended, Refused, Reject, StoreCommand
from imex.ingest.budget import Holding
from imex.ingest.ports import MIB, Tuning
from imex.runtime.errors import BrokerUnavailable
from imex.storage import StoreFull, StoreUnavailable

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
RELEASED = Ended("released", "the association was released")
NewWorld = Callable[..., Any]
MakeDataset = Callable[..., bytes]


async def test_success_means_stored_and_published(world: Any, dataset: MakeDataset) -> None:
    handler = await world.handler()
    data = dataset()
    response = await world.send(handler, data)
    assert (response.status, response.comment) == (0x0000, "")
    (said,) = world.received
    content, metadata, _ = world.store.objects[said.object_key]
    assert content[dataset_offset(content) :] == data
    assert dataset_digest(content) == said.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert pydicom.dcmread(io.BytesIO(content)).PatientID == "9434765919"
    assert (said.study_uid, said.series_uid, said.sop_instance_uid) == ("1.2.3", "1.2.3.9", "1.2.3.1")
    assert (said.source, said.lane, said.recipient, said.size) == ("RQM", "bulk", None, len(data))
    assert (said.pixels.length, said.pixels.expected) == (512, 512)
    assert said.problem is None
    assert said.object_key.startswith("RQM/2026-01-02/")
    (event,) = world.broker.published
    assert said.object_key.endswith(str(event.id))
    assert event.key == "RQM/1.2.3"
    assert event.traceparent == world.spans.begun["1.2.3"].traceparent
    assert metadata["digest"] == said.digest
    assert metadata["source"] == "RQM"
    assert metadata["association"] == str(said.association)
    assert metadata["sop-class"] == CT


async def test_identifying_facts_travel_sealed_only(world: Any, dataset: MakeDataset) -> None:
    handler = await world.handler()
    await world.send(handler, dataset(StudyDescription="Head of Jane"))
    await handler.ended(RELEASED)
    (said,) = world.received
    assert "Doe^Jane" in said.identity.ciphertext
    assert said.identity.nonce == said.object_key
    open_text = "".join(
        event.model_copy(update={"data": event.data.model_copy(update={"identity": None})}).model_dump_json(
            warnings=False
        )
        for event in world.broker.published
    )
    metadata = str([each[1] for each in world.store.objects.values()])
    for secret in ("Jane", "9434765919"):
        assert secret not in open_text
        assert secret not in metadata


async def test_a_recipient_as_called_ae_title_travels_with_the_event(
    world: Any, dataset: MakeDataset
) -> None:
    handler = await world.handler("RT3")
    assert (await world.send(handler, dataset())).status == 0
    assert world.received[0].recipient == "RT3"


async def test_without_an_agreement_nothing_is_stored_and_the_refusal_is_audited(
    world: Any, dataset: MakeDataset
) -> None:
    handler = await world.handler("RX1")
    response = await world.send(handler, dataset())
    assert response.status == 0x0124
    assert "agreement" in response.comment[:64]
    await handler.ended(RELEASED)
    assert world.store.objects == {}
    assert world.received == []
    assert world.ends == []
    (audit,) = world.audits
    assert (audit.action, audit.outcome, audit.study_uid) == ("instances_refused", "refused", "1.2.3")
    assert audit.recipient == "RX1"
    assert "agreement" in audit.reason
    assert audit.details["called_ae"] == "RX1"


@pytest.mark.parametrize(
    ("calling", "called", "expected"),
    [("NOBODY", "IMEX", (1, 1, 3)), ("RT3_PACS", "IMEX", (1, 1, 3)), ("RQM_PACS", "NOWHERE", (1, 1, 7))],
)
async def test_unknown_ae_titles_are_rejected_and_audited(
    world: Any, calling: str, called: str, expected: tuple[int, int, int]
) -> None:
    reject = await world.connect(calling, called, "192.0.2.9")
    assert isinstance(reject, Reject)
    assert (reject.result, reject.source, reject.reason) == expected
    (audit,) = world.audits
    assert (audit.action, audit.outcome) == ("association_rejected", "refused")
    assert audit.details == {"calling_ae": calling, "called_ae": called}
    assert audit.personal == {"address": "192.0.2.9"}
    assert "192.0.2.9" not in audit.reason


async def test_one_association_carries_a_bounded_number_of_studies(
    new_world: NewWorld, dataset: MakeDataset
) -> None:
    world = new_world(Tuning(studies=2))
    handler = await world.handler()
    answers = [await world.send(handler, dataset("1.2.3", f"1.2.{n}"), "1.2.3") for n in range(4)]
    assert [answer.status for answer in answers] == [0, 0, 0xA700, 0xA700]
    assert "studies" in answers[-1].comment
    await handler.ended(RELEASED)
    assert [(end.study_uid, end.received) for end in world.ends] == [("1.2.0", 1), ("1.2.1", 1)]
    assert sum(audit.counts["refused"] for audit in world.audits) == 2


async def test_ae_titles_with_control_characters_are_told_harmlessly(world: Any) -> None:
    assert isinstance(await world.connect("A\0B\n" * 9), Reject)
    assert world.audits[0].details["calling_ae"] == "A\ufffdB\ufffd" * 4
    assert "\0" not in world.broker.published[0].model_dump_json()


async def test_without_a_directory_a_peer_is_asked_to_come_back(world: Any) -> None:
    world.directory[0] = None
    reject = await world.connect()
    assert isinstance(reject, Reject)
    assert reject.result == 2


@pytest.mark.parametrize(
    ("failure", "words"),
    [(StoreUnavailable("away"), "object store"), (StoreFull("no room"), "full")],
)
async def test_a_store_that_fails_is_out_of_resources(
    world: Any, dataset: MakeDataset, failure: Exception, words: str
) -> None:
    handler = await world.handler()
    world.store.failure = failure
    response = await world.send(handler, dataset())
    assert response.status == 0xA700
    assert words in response.comment
    assert len(response.comment) <= 64
    assert world.received == []
    world.store.failure = None
    assert (await world.send(handler, dataset())).status == 0


async def test_a_broker_that_fails_is_out_of_resources_and_the_end_still_counts(
    world: Any, dataset: MakeDataset
) -> None:
    handler = await world.handler()
    world.broker.failure = BrokerUnavailable("away")
    response = await world.send(handler, dataset())
    assert (response.status, "broker" in response.comment) == (0xA700, True)
    world.broker.failure = None
    assert (await world.send(handler, dataset("1.2.3.2"), "1.2.3.2")).status == 0
    await handler.ended(RELEASED)
    (end,) = world.ends
    assert (end.received, end.refused) == (1, 1)
    assert {audit.action for audit in world.audits} == {"instances_received", "instances_refused"}


async def test_a_slow_part_is_out_of_resources_within_the_bound(
    new_world: NewWorld, dataset: MakeDataset
) -> None:
    world = new_world(Tuning(safe_within_s=0.05))
    handler = await world.handler()
    world.broker.delay_s = 30.0
    response = await world.send(handler, dataset())
    assert (response.status, "in time" in response.comment) == (0xA700, True)


async def test_what_cannot_be_read_is_stored_all_the_same(world: Any) -> None:
    handler = await world.handler()
    assert (await world.send(handler, b"this is no DICOM at all")).status == 0
    (said,) = world.received
    assert said.problem is not None
    assert said.study_uid == f"unknown/{said.association}"
    assert said.dataset_study_uid == ""


@pytest.mark.parametrize("study", [None, "1.02.3", "x y"])
async def test_a_missing_or_malformed_study_uid_gets_a_stand_in(
    world: Any, dataset: MakeDataset, study: str | None
) -> None:
    handler = await world.handler()
    data = dataset(study="1.2.3.4" if study else None)
    if study:
        padded = study.encode().ljust(8, b"\0")
        data = data.replace(b"1.2.3.4\0", padded)
    assert (await world.send(handler, data)).status == 0
    await handler.ended(RELEASED)
    (said,) = world.received
    assert said.study_uid == f"unknown/{said.association}"
    assert said.dataset_study_uid == (study or "")
    assert world.ends[0].study_uid == said.study_uid


async def test_another_sop_instance_uid_than_the_commands_is_told_not_refused(
    world: Any, dataset: MakeDataset
) -> None:
    handler = await world.handler()
    assert (await world.send(handler, dataset("1.2.3.1"), sop_instance="1.2.3.77")).status == 0
    (said,) = world.received
    assert (said.sop_instance_uid, said.dataset_sop_instance_uid) == ("1.2.3.77", "1.2.3.1")


async def test_an_association_ends_once_for_each_study_after_its_instances(
    world: Any, dataset: MakeDataset
) -> None:
    handler = await world.handler()
    for number, study in enumerate(["1.2.3", "1.2.4", "1.2.3"]):
        sop = f"1.2.3.{number}"
        await world.send(handler, dataset(sop, study), sop)
    await handler.ended(Ended("lost", "the connection was lost"))
    assert [(end.study_uid, end.received, end.outcome) for end in world.ends] == [
        ("1.2.3", 2, "lost"),
        ("1.2.4", 1, "lost"),
    ]
    kinds = [type(event).__name__ for event in world.broker.published]
    assert kinds[:3] == ["InstanceReceived"] * 3
    assert world.spans.begun["1.2.3"].ended == {"received": 2, "refused": 0, "outcome": "lost"}
    assert {(a.action, a.study_uid, a.counts["received"]) for a in world.audits} == {
        ("instances_received", "1.2.3", 2),
        ("instances_received", "1.2.4", 1),
    }


async def test_an_association_without_instances_says_nothing(world: Any) -> None:
    handler = await world.handler()
    assert await handler.echo() == 0
    await handler.ended(RELEASED)
    assert world.broker.published == []


async def test_a_study_keeps_the_lane_of_its_first_instance(world: Any, dataset: MakeDataset) -> None:
    for association in range(2):
        handler = await world.handler()
        for number, modality in enumerate(["MR", "CT"]):
            sop = f"1.2.3.{association}.{number}"
            await world.send(handler, dataset(sop, Modality=modality), sop)
        await handler.ended(RELEASED)
    assert {said.lane for said in world.received} == {"express"}
    assert {end.lane for end in world.ends} == {"express"}


@pytest.mark.parametrize(
    ("originator", "retrieved", "lane"),
    [("IMEX", True, "bulk"), (" IMEX ", True, "bulk"), ("OTHER", False, "express"), (None, False, "express")],
)
async def test_what_imex_asked_for_is_told_from_what_was_sent(
    world: Any, dataset: MakeDataset, originator: str | None, retrieved: bool, lane: str
) -> None:
    handler = await world.handler()
    sink = await handler.store(StoreCommand(1, CT, "1.2.3.1", EXPLICIT, move_originator_ae=originator))
    await sink.write(dataset(Modality="MR"))
    assert (await sink.commit()).status == 0
    (said,) = world.received
    assert (said.retrieved, said.lane) == (retrieved, lane)
    _, metadata, _ = world.store.objects[said.object_key]
    assert metadata.get("retrieved") == ("yes" if retrieved else None)


async def test_a_directory_that_changes_is_obeyed_by_open_associations(
    world: Any, dataset: MakeDataset
) -> None:
    handler = await world.handler("RT3")
    assert (await world.send(handler, dataset())).status == 0
    index = world.directory[0]
    world.directory[0] = type(index)(index.directory.model_copy(update={"agreements": ()}))
    assert (await world.send(handler, dataset())).status == 0x0124


async def test_large_data_sets_are_streamed_and_small_memory_is_enough(
    new_world: NewWorld, dataset: MakeDataset
) -> None:
    world = new_world(Tuning(single_put_bytes=MIB), budget=2 * MIB)
    handler = await world.handler()
    data = dataset(Rows=2048, Columns=2048, PixelData=bytes(8 * MIB))
    assert (await world.send(handler, data, step=100_000)).status == 0
    (said,) = world.received
    content = world.store.objects[said.object_key][0]
    assert content[dataset_offset(content) :] == data
    assert (said.size, said.pixels.length) == (len(data), 8 * MIB)
    assert world.memory.used == 0


@pytest.mark.parametrize("size", [1000, 3 * MIB])
async def test_a_data_set_that_is_cut_off_leaves_no_object(new_world: NewWorld, size: int) -> None:
    world = new_world(Tuning(single_put_bytes=MIB))
    handler = await world.handler()
    sink = await handler.store(StoreCommand(1, CT, "1.2.3", EXPLICIT))
    for _ in range(0, size, 1000):
        await sink.write(bytes(1000))
    await sink.abort()
    await world.later.run_chores()
    assert world.store.objects == {}
    assert world.store.open_uploads == 0
    assert world.memory.used == 0
    assert world.received == []


async def test_a_store_that_fails_while_a_large_data_set_comes_in_refuses_it(new_world: NewWorld) -> None:
    world = new_world(Tuning(single_put_bytes=MIB, budget_wait_s=0.05), budget=2 * MIB)
    other = world.around.traffic.data_set("RT3")
    await other.cover(2 * MIB)
    handler = await world.handler()
    sink = await handler.store(StoreCommand(1, CT, "1.2.3", EXPLICIT))
    with pytest.raises(Refused) as refused:
        await sink.write(bytes(1000))
    assert refused.value.status == 0xA700
    await sink.abort()
    await world.later.run_chores()
    assert world.store.open_uploads == 0
    assert world.memory.used == 2 * MIB


async def test_associations_beyond_a_limit_are_told_to_come_again(world: Any) -> None:
    world.doors.room = 1
    accept = await world.connect()
    assert isinstance(accept, Accept)
    reject = await world.connect()
    assert isinstance(reject, Reject)
    assert (reject.result, reject.source, reject.reason) == (2, 3, 1)  # transient: temporary congestion
    world.doors.full = "institution"
    reject = await world.connect()
    assert isinstance(reject, Reject)
    assert (reject.result, reject.source, reject.reason) == (2, 3, 2)  # transient: local limit exceeded
    await accept.handler.ended(Ended("released", ""))
    assert isinstance(await world.connect(), Accept)
    refused = b'imex_ingest_limited_total{institution="RQM",limit="associations",scope="institution"} 1.0'
    assert refused in world.metrics.render()


async def test_a_store_that_is_nearly_full_takes_emergencies_only(world: Any, dataset: MakeDataset) -> None:
    world.fill.refused["bulk"] = "storage is 87 % full, only emergencies"
    handler = await world.handler()
    response = await world.send(handler, dataset())
    assert response.status == 0xA700
    assert response.comment == "out of resources: storage is 87 % full, only emergencies"
    assert len(response.comment) <= 64
    emergency = await world.send(handler, dataset("1.2.3.2", "1.2.4", Modality="MR"), "1.2.3.2")
    assert emergency.status == 0
    assert [said.lane for said in world.received] == ["express"]


async def test_a_large_data_set_is_refused_before_it_is_stored_where_the_store_is_nearly_full(
    new_world: NewWorld, dataset: MakeDataset
) -> None:
    world = new_world(Tuning(single_put_bytes=MIB))
    world.fill.refused["bulk"] = "storage is 87 % full, only emergencies"
    handler = await world.handler()
    large = {"Rows": 2048, "Columns": 2048, "PixelData": bytes(8 * MIB)}
    with pytest.raises(Refused):
        await world.send(handler, dataset(**large), step=100_000)
    assert world.store.open_uploads == 0
    emergency = dataset("1.2.3.2", "1.2.4", Modality="MR", **large)
    assert (await world.send(handler, emergency, "1.2.3.2", step=100_000)).status == 0
    (said,) = world.received
    assert (said.lane, said.problem, said.pixels.length) == ("express", None, 8 * MIB)


async def test_where_memory_is_short_the_last_of_it_is_for_emergencies(
    new_world: NewWorld, dataset: MakeDataset
) -> None:
    world = new_world(Tuning(budget_wait_s=0.05))
    world.memory.memory.reserve = 0.25
    others = [Holding(world.memory, 0.05) for _ in range(3)]
    for each in others:
        await each.cover(16 * MIB)  # all that is there for everybody, and what is kept back for one
    handler = await world.handler()
    with pytest.raises(Refused) as refused:
        await world.send(handler, dataset())
    assert "too much is under way" in refused.value.comment
    emergency = await world.send(handler, dataset("1.2.3.2", "1.2.4", Modality="MR"), "1.2.3.2")
    assert emergency.status == 0
