"""Recalls and corrections: what has not left stops, what has is followed by a note; people acknowledge."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from tests.integration.routing_world import (
    AGREED,
    HOSPITALS,
    NHS_NUMBER,
    TO_B,
    Sending,
    World,
    routing_world,
)

from imex.db.tables import routing as tables
from imex.dicom import dataset_digest, dataset_offset
from imex.dicom.rejection import KEY_OBJECT_SELECTION, read_note
from imex.events.commands import CorrectionCommanded, CorrectionCommandedData
from imex.events.manifests import ManifestAnnotated, ManifestClosed, ManifestWithdrawn
from imex.events.sealed import Sealed
from imex.events.shares import ShareCorrectionAcknowledged, ShareRecalled
from imex.events.validations import RejectedInstance, RejectionFacts
from imex.hl7.adt import MESSAGE_CLASS
from imex.hl7.message import read
from imex.routing.corrections.notes import Notes
from imex.testing.storage import MemoryStore

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


class Correcting:
    """A source that corrects, and the loop that follows it up."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = MemoryStore()
        self.notes = Notes(
            world.database,
            world.around,
            self.store,
            outstanding=timedelta(days=3),
            kept=timedelta(days=30),
            open_facts=lambda sealed, _context: json.loads(sealed.ciphertext),
        )

    async def turn(self) -> None:
        """Until nothing is due."""
        while await self.notes.turn():
            pass
        await self.notes.tidy()
        await self.world._collect()

    async def command(self, **more: Any) -> UUID:
        """A recall by RQM, unless something else is said."""
        named = more.pop("correction", None) or uuid4()
        data = {
            "source": "RQM",
            "study_uid": "1.2.3",
            "command": "open",
            "correction": named,
            "code": "113038",
            "reason": "sent under another person",
            "actor": "anna",
            "actor_institution": "RQM",
            **more,
        }
        await self.world.commanded(
            CorrectionCommanded.of(
                id=uuid4(), subject="x", time=self.world.clock.now, data=CorrectionCommandedData(**data)
            )
        )
        return UUID(str(named))

    async def result(self) -> Any:
        """What became of the newest command."""
        return (await self.world.rows(tables.command_results, tables.command_results.c.at))[-1]

    async def concerned(self) -> dict[str, Any]:
        """How far it has come, by recipient."""
        return {row.recipient: row for row in await self.world.rows(tables.corrected_shares)}

    def of_notes(self) -> list[Any]:
        """Manifests of notes."""
        return [one for one in self.world.parts() if one.instances[0].sop_class_uid == KEY_OBJECT_SELECTION]


async def delivered(world: World, *numbers: int) -> None:
    """A study that has arrived at RT3."""
    sending = Sending(world)
    await world.validated(*sending.accepted(*numbers), sending.over(len(numbers)))
    await world.quiet()
    await world.confirm_all()


async def test_a_recall_of_what_has_arrived_is_followed_by_a_note(world: World) -> None:
    await delivered(world, 1, 2)
    source = Correcting(world)
    correction = await source.command()
    assert (await source.result()).outcome == "done"
    share = await world.share()
    assert (share.state, "incorrect modality worklist entry" in share.reason) == ("revoked", True)
    await source.turn()
    (part,) = source.of_notes()
    (instance,) = part.instances
    assert part.delivery != world.parts()[0].delivery
    assert [
        one.data.instances for one in world.said(ManifestClosed) if one.data.delivery == part.delivery
    ] == [1]
    found = read_note(await source.store.get(instance.object_key))
    assert found is not None
    assert found.study_uid == "1.2.3"
    assert {one.sop_instance_uid for one in found.references} == {"1.2.3.1.1", "1.2.3.1.2"}
    assert (await source.concerned())["RT3"].state == "notifying"
    await world.delivered(world.progressed(part, [instance], {}), world.completed(part, 1))
    row = (await source.concerned())["RT3"]
    assert (row.state, row.acknowledged_at) == ("notified", None)
    assert (await world.share()).confirmed == 2, "the note is none of the share's images"
    (told,) = world.said(ShareRecalled)
    assert (told.data.code, told.data.whole, told.data.state) == ("113038", True, "revoked")
    await source.command(
        command="acknowledge", correction=correction, recipient="RT3", actor="ben", actor_institution="RT3"
    )
    row = (await source.concerned())["RT3"]
    assert (row.acknowledged_by, row.acknowledged_at is not None) == ("ben", True)
    assert [one.data.correction for one in world.said(ShareCorrectionAcknowledged)] == [correction]
    assert {"recalled", "recall_notified", "correction_acknowledged"} <= set(await world.steps(share.id))


async def test_what_has_not_left_stops(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    source = Correcting(world)
    await source.command()
    await source.turn()
    assert (await world.share()).state == "revoked"
    assert (await source.concerned())["RT3"].state == "stopped"
    assert not world.parts()
    await world.commanded(world.command("create", recipient="RW6"))
    result = await source.result()
    assert (result.outcome, "recalled all of it" in result.message) == ("rejected", True)


async def test_a_delivery_under_way_is_withdrawn_and_the_note_follows_all_the_same(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()
    source = Correcting(world)
    await source.command()
    await source.turn()
    assert len(world.said(ManifestWithdrawn)) == 1
    assert len(source.of_notes()) == 1


async def test_instances_are_recalled_and_the_rest_goes_on(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2, 3), sending.over(3))
    await world.quiet()
    source = Correcting(world)
    await source.command(instances=("1.2.3.1.2",), code="113001", reason="")
    await source.turn()
    (annotated,) = [one for one in world.said(ManifestAnnotated) if one.data.instances]
    assert [(one.sop_instance_uid, one.disputes) for one in annotated.data.instances] == [("1.2.3.1.2", True)]
    first = world.parts()[0]
    rest = [one for one in first.instances if one.sop_instance_uid != "1.2.3.1.2"]
    await world.delivered(world.progressed(first, rest, {}))
    await world.delivered(world.completed(first, 2))
    share = await world.share()
    assert (share.state, share.reason) == ("partial", "1 of 3 instances missing: 1 recalled by RQM")


@pytest.mark.parametrize("days", [0, 40])
async def test_a_recall_reaches_what_was_delivered_long_ago(world: World, days: int) -> None:
    await delivered(world, 1)
    world.clock.pass_(days * 86400)
    source = Correcting(world)
    await source.command(code="113037")
    await source.turn()
    assert len(source.of_notes()) == 1


async def test_a_note_of_the_sender_takes_back_too(world: World) -> None:
    await delivered(world, 1, 2)
    named = RejectedInstance(sop_instance_uid="1.2.3.1.1", sop_class_uid=CT, series_uid="1.2.3.1")
    again = Sending(world)
    note = again.accepted(
        9,
        sop_class_uid=KEY_OBJECT_SELECTION,
        modality="KO",
        rejection=RejectionFacts(code="113001", instances=(named,)),
    )
    await world.validated(*note, again.over(1))
    source = Correcting(world)
    await source.turn()
    await world.quiet()
    row = (await source.concerned())["RT3"]
    assert (row.state, row.delivery) == ("notifying", None)
    (part,) = source.of_notes()
    assert part.delivery == world.parts()[0].delivery, (
        "it goes with the share, as the late instance that it is"
    )
    await world.delivered(world.progressed(part, part.instances, {}))
    await source.turn()
    assert (await source.concerned())["RT3"].state == "notified"
    assert [one.data.whole for one in world.said(ShareRecalled)] == [False]


async def test_a_note_of_the_sender_about_everything_goes_alone(world: World) -> None:
    await delivered(world, 1)
    named = RejectedInstance(sop_instance_uid="1.2.3.1.1", sop_class_uid=CT, series_uid="1.2.3.1")
    again = Sending(world)
    note = again.accepted(
        9, sop_class_uid=KEY_OBJECT_SELECTION, rejection=RejectionFacts(code="113038", instances=(named,))
    )
    await world.validated(*note, again.over(1))
    source = Correcting(world)
    await source.turn()
    await world.quiet()
    assert (await world.share()).state == "revoked"
    (part,) = source.of_notes()
    assert part.instances[0].object_key == note[0].data.object_key
    assert not source.store.objects, "nothing is written where the sender has"


async def test_readers_of_an_inbox_are_told(empty_database_url: str) -> None:
    directory = HOSPITALS + AGREED + TO_B.replace("RT3", "INB")
    async with routing_world(empty_database_url, directory) as world:
        sending = Sending(world)
        await world.validated(*sending.accepted(1), sending.over(1))
        share = await world.share()
        await world.commanded(
            world.command("accept", share=share.id, recipient="INB", actor_institution="INB")
        )
        await world.quiet()
        await world.confirm_all()
        source = Correcting(world)
        await source.command()
        await source.turn()
        assert (await source.concerned())["INB"].state == "told"
        assert not source.of_notes()
        world.clock.pass_(4 * 86400)
        await source.turn()
        (notice,) = await world.rows(tables.notices)
        assert (notice.kind, notice.recipient) == ("outstanding", "INB")


async def test_a_note_that_cannot_be_delivered_is_outstanding(world: World) -> None:
    await delivered(world, 1)
    source = Correcting(world)
    await source.command()
    await source.turn()
    (part,) = source.of_notes()
    await world.delivered(world.ended(part, "failed", "no presentation context for key objects"))
    row = (await source.concerned())["RT3"]
    assert (row.state, row.reason) == ("unreached", "no presentation context for key objects")
    assert (await world.share()).state == "revoked"
    await world.delivered(world.progressed(part, part.instances, {}))
    assert (await source.concerned())["RT3"].state == "notified"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"study_uid": "9.9"}, "has sent no study"),
        ({"actor_institution": "RT3"}, "only RQM"),
        ({"instances": ("9.9.9",)}, "none of this study's"),
        ({"command": "acknowledge", "recipient": "RW6", "actor_institution": "RW6"}, "no such correction"),
    ],
)
async def test_what_makes_no_sense_is_refused(world: World, more: dict[str, Any], words: str) -> None:
    await delivered(world, 1)
    source = Correcting(world)
    await source.command(**more)
    result = await source.result()
    assert (result.outcome, words in result.message) == ("rejected", True), result.message
    assert (await world.share()).state == "delivered"


async def test_demographics_are_announced_and_nothing_is_taken_back(world: World) -> None:
    await delivered(world, 1)
    source = Correcting(world)
    person = Sealed(key_id="k", nonce="n", ciphertext="c")
    await source.command(correction_kind="merge", code=None, reason="two records of one", person=person)
    await source.command(correction_kind="demographics", code=None, reason="x")
    rows = await world.rows(tables.corrections, tables.corrections.c.kind)
    assert [one.personal for one in rows] == [None, person.model_dump(mode="json")]
    async with world.database.engine.connect() as connection:
        some = "SELECT count(*) FROM routing.corrections WHERE personal IS NOT NULL"
        assert await connection.scalar(text(some)) == 1
    await source.turn()
    assert (await source.concerned())["RT3"].state == "told"
    assert (await world.share()).state == "delivered"
    assert "corrected" in world.partner_words()


async def test_notes_are_deleted_when_nobody_waits_for_them(world: World) -> None:
    await delivered(world, 1)
    source = Correcting(world)
    await source.command()
    await source.turn()
    (part,) = source.of_notes()
    world.clock.pass_(40 * 86400)
    await source.turn()
    assert len(source.store.objects) == 1, "it is still on its way"
    await world.delivered(world.progressed(part, part.instances, {}))
    await source.turn()
    assert not source.store.objects


async def test_the_same_command_twice_is_one_recall(world: World) -> None:
    await delivered(world, 1)
    source = Correcting(world)
    correction = uuid4()
    for _ in range(2):
        await source.command(correction=correction)
        await source.turn()
    assert len(source.of_notes()) == 1
    assert len(await world.rows(tables.corrections)) == 1


async def test_what_is_sent_anew_with_other_bytes_may_leave(world: World) -> None:
    await delivered(world, 1, 2)
    source = Correcting(world)
    await source.command()
    await source.turn()
    again = Sending(world)
    first = (await world.rows(tables.instances))[0]
    anew = again.accepted(1, replaces=first.event_id, digest="sha256:" + "f" * 64)
    await world.validated(*anew, again.over(1))
    await world.quiet()
    newest = world.parts()[-1]
    assert [one.digest for one in newest.instances] == ["sha256:" + "f" * 64]


async def test_a_recall_of_one_reaches_a_delivery_that_had_failed(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()
    await world.delivered(world.ended(world.parts()[0], "failed", "nobody answers"))
    closed = len(world.said(ManifestClosed))
    await Correcting(world).command(instances=["1.2.3.1.1"])
    [told] = [one for one in world.said(ManifestAnnotated) if any(i.disputes for i in one.data.instances)]
    assert [one.sop_instance_uid for one in told.data.instances] == ["1.2.3.1.1"]
    assert len(world.said(ManifestClosed)) == closed, "nobody had it tried again"


async def test_notes_go_to_every_endpoint_that_has_images(empty_database_url: str) -> None:
    """One image went to the first endpoint, then the rest was rerouted to another one."""
    more = "{name: archive, type: dicom, ae_title: RT3_ARCHIVE, host: 127.0.0.1, port: 4244}"
    pacs = "{name: pacs, type: dicom, ae_title: RT3_PACS, host: 127.0.0.1, port: 4243}"
    directory = HOSPITALS + AGREED + TO_B
    assert pacs in directory
    async with routing_world(empty_database_url, directory.replace(pacs, f"{pacs}, {more}")) as world:
        sending = Sending(world)
        await world.validated(*sending.accepted(1, 2), sending.over(2))
        await world.quiet()
        (there,) = world.parts()
        one, two = there.instances
        await world.delivered(world.progressed(there, [one], {}))
        elsewhere = there.model_copy(update={"endpoint": "archive"})
        await world.delivered(world.steered(elsewhere, "reroute", from_endpoint="pacs"))
        await world.delivered(world.progressed(elsewhere, [two], {}), world.completed(elsewhere, 2))
        assert (await world.share()).state == "delivered"
        source = Correcting(world)
        await source.command()
        await source.turn()
        notes = {part.endpoint: part for part in source.of_notes()}
        assert set(notes) == {"pacs", "archive"}
        assert notes["pacs"].delivery != notes["archive"].delivery
        archive = notes["archive"]
        await world.delivered(world.progressed(archive, archive.instances, {}), world.completed(archive, 1))
        assert (await source.concerned())["RT3"].state == "notifying"
        await world.delivered(world.ended(notes["pacs"], "expired", "nobody answers"))
        assert (await source.concerned())["RT3"].reason == "nobody answers"
        await world.delivered(world.progressed(notes["pacs"], notes["pacs"].instances, {}))
        assert (await source.concerned())["RT3"].state == "notified"
        assert (await world.share()).confirmed == 2, "the notes are none of the share's images"


WITH_HL7 = HOSPITALS.replace("port: 4243}", "port: 4243, hl7: {host: 127.0.0.1, port: 2575}}")
RIGHT = {"wrong": {"patient_name": "OKONKWO^CHID"}, "right": {"patient_name": "OKONKWO^CHIDI", "sex": "M"}}


def sealed(facts: Any) -> Sealed:
    return Sealed(key_id="k", nonce="", ciphertext=json.dumps(facts))


async def test_a_correction_goes_to_a_system_that_takes_hl7_and_its_answer_acknowledges_it(
    empty_database_url: str,
) -> None:
    async with routing_world(empty_database_url, WITH_HL7 + AGREED + TO_B) as world:
        await delivered(world, 1)
        source = Correcting(world)
        await source.command(code=None, correction_kind="demographics", person=sealed(RIGHT))
        assert (await source.concerned())["RT3"].state == "due"
        await source.turn()
        part = world.parts()[-1]
        [instance] = part.instances
        assert (part.endpoint, instance.sop_class_uid) == ("pacs/hl7", MESSAGE_CLASS)
        file = await source.store.get(instance.object_key)
        message = read(file[dataset_offset(file) :])
        assert dataset_digest(file) == instance.digest
        assert message.kind == ("ADT", "A08")
        [pid] = message.of("PID")
        assert (pid.text(3), pid.text(3, 4), pid.text(5), pid.text(8)) == (NHS_NUMBER, "NHS", "OKONKWO", "M")
        assert (await source.concerned())["RT3"].state == "notifying"

        await world.delivered(world.attempted(part, 1, "the listener answered AE (code 207)"))
        waiting = (await source.concerned())["RT3"]
        assert (waiting.state, waiting.acknowledged_at) == ("notifying", None)
        assert "AE" in waiting.reason

        await world.delivered(world.progressed(part, part.instances, {}))
        done = (await source.concerned())["RT3"]
        assert (done.state, done.acknowledged_by) == ("notified", "RT3 (HL7)")
        assert len(world.said(ShareCorrectionAcknowledged)) == 1
        share = await world.share()
        assert (await world.steps(share.id))[-2:] == ["correction_notified", "correction_acknowledged"]
        assert share.state == "delivered"


async def test_a_merge_without_two_identifiers_is_read_by_people(empty_database_url: str) -> None:
    async with routing_world(empty_database_url, WITH_HL7 + AGREED + TO_B) as world:
        await delivered(world, 1)
        source = Correcting(world)
        await source.command(code=None, correction_kind="merge", person=sealed(RIGHT))
        await source.turn()
        told = (await source.concerned())["RT3"]
        assert (told.state, "a merge is of two identifiers" in told.reason) == ("told", True)
        assert len(world.parts()) == 1


@pytest.mark.parametrize(
    "directory",
    [
        HOSPITALS + AGREED + TO_B,
        WITH_HL7 + AGREED.replace("legal_basis", "deidentify: {project: p}, legal_basis") + TO_B,
        WITH_HL7.replace("hl7:", "identity: {patient_id: map}, hl7:") + AGREED + TO_B,
    ],
)
async def test_where_no_message_can_say_who_it_is_people_are_told(
    empty_database_url: str, directory: str
) -> None:
    async with routing_world(empty_database_url, directory) as world:
        await delivered(world, 1)
        source = Correcting(world)
        await source.command(code=None, correction_kind="demographics", person=sealed(RIGHT))
        await source.turn()
        assert (await source.concerned())["RT3"].state == "told"
        assert len(world.parts()) == 1


async def test_images_are_never_shared_to_a_listener(empty_database_url: str) -> None:
    async with routing_world(empty_database_url, WITH_HL7 + AGREED) as world:
        sending = Sending(world)
        await world.validated(*sending.accepted(1), sending.over(1))
        await world.commanded(world.command("create", endpoint="pacs/hl7"))
        await world.quiet()
        share = await world.share()
        assert (share.state, share.reason) == ("failed", "RT3 has no endpoint 'pacs/hl7' in the directory")
