"""Results of what was shared go back by themselves: they alone, once, and only as agreements let them."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from tests.integration.routing_world import HOSPITALS, TO_B, Sending, World, routing_world

from imex.db.tables import routing as tables
from imex.events.manifests import ManifestClosed
from imex.events.shares import ShareResultReturned
from imex.routing.results import Results
from imex.routing.studies import MOST_REFERENCED

SR = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.33", "modality": "SR"}
SEG = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4", "modality": "SEG"}
KEY_OBJECT = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.59", "modality": "KO"}

PLACES = HOSPITALS.replace(
    "senders: [{ae_title: RQM_PACS}]",
    "senders: [{ae_title: RQM_PACS}], endpoints: [{name: pacs, type: dicom, ae_title: RQM_PACS,"
    " host: 127.0.0.1, port: 4242}]",
)
THERE = "{id: a1, from: RQM, to: [RT3, RW6], purposes: [direct-care], legal_basis: b%s}"
BACK = "{id: a2, from: RT3, to: RQM, purposes: [direct-care], legal_basis: b, modalities: [SR, SEG]}"


def directory(returns: str = "", back: str = BACK) -> str:
    agreements = "".join(f"\n  - {one}" for one in (THERE % returns, back) if one)
    return f"{PLACES}agreements:{agreements}\n{TO_B}"


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, directory()) as made:
        yield made


async def shared(world: World, **more: Any) -> Any:
    """RQM's study is delivered to RT3."""
    sending = Sending(world, **more)
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()
    await world.confirm_all()
    return await world.share()


async def made(world: World, *numbers: int, source: str = "RT3", **more: Any) -> None:
    """The recipient sends something under the study's UID to the standing rules."""
    sending = Sending(world, source=source)
    await world.validated(*sending.accepted(*numbers, **(more or SR)), sending.over(len(numbers)))


async def returned(world: World) -> list[Any]:
    return [one for one in await world.shares() if one.origin == "return"]


async def carried(world: World, share: Any) -> set[str]:
    column = tables.share_instances.c
    async with world.database.engine.connect() as connection:
        rows = await connection.execute(select(column.sop_instance_uid).where(column.share == share.id))
        return {row.sop_instance_uid for row in rows}


async def test_a_report_goes_back_to_who_shared_the_study(world: World) -> None:
    cause = await shared(world)
    await made(world, 7)
    await world.quiet()
    await world.confirm_all()
    [back] = await returned(world)
    assert (back.source, back.recipient, back.purpose, back.state) == (
        "RT3",
        "RQM",
        "direct-care",
        "delivered",
    )
    assert (back.agreement, back.rule) == ("a2", None)
    rows = await world.rows(tables.timeline, tables.timeline.c.seq)
    [why] = [one.reason for one in rows if one.share == back.id and one.step == "requested"]
    assert why == f"brings back what RT3 made of share {cause.id}"
    await Results(world.database, world.around).turn()
    await world._collect()
    [told] = world.said(ShareResultReturned)
    assert (told.data.share, told.data.result) == (cause.id, back.id)


async def test_only_results_go_back_though_more_came(world: World) -> None:
    """The agreement back does not even include the images' modality."""
    await shared(world)
    await made(world, 1, 2, sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
    assert not await returned(world)
    await made(world, 7)
    await made(world, 8, **SEG)
    await made(world, 9, **KEY_OBJECT)
    await world.quiet()
    [back] = await returned(world)
    assert await carried(world, back) == {"1.2.3.1.7", "1.2.3.1.8"}
    [closed] = [one.data for one in world.said(ManifestClosed) if one.data.share == back.id]
    assert closed.instances == 2
    await world.confirm_all()
    [back] = await returned(world)
    assert back.state == "delivered"
    assert (back.left_out["validated"], back.left_out["bytes"]) == (3, 3000)
    await made(world, 3, sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
    [back] = await returned(world)
    assert back.state == "delivered", "an image is no late result"


async def test_a_late_result_follows(world: World) -> None:
    await shared(world)
    await made(world, 7)
    await world.quiet()
    await world.confirm_all()
    await made(world, 8, **SEG)
    [back] = await returned(world)
    assert back.state == "delivering"
    await world.quiet()
    await world.confirm_all()
    [back] = await returned(world)
    assert (back.state, back.confirmed) == ("delivered", 2)


async def test_what_the_source_has_sent_itself_is_not_returned(world: World) -> None:
    own = Sending(world)
    await world.validated(*own.accepted(1), *own.accepted(7, **SR), own.over(2))
    await world.quiet()
    await world.confirm_all()
    await made(world, 7)
    assert not await returned(world), "the source's own report, sent on by its recipient"
    await made(world, 8)
    await world.quiet()
    [back] = await returned(world)
    assert await carried(world, back) == {"1.2.3.1.8"}
    await world.confirm_all()
    assert (await returned(world))[0].state == "delivered"


async def test_a_result_does_not_go_to_its_maker_again(world: World) -> None:
    """The source's archive sends on whatever it gets."""
    cause = await shared(world)
    await made(world, 7)
    await world.quiet()
    await world.confirm_all()
    await made(world, 7, source="RQM")
    await world.quiet()
    [there] = [one for one in await world.shares() if one.id == cause.id]
    assert (there.state, there.left_out["validated"]) == ("delivered", 1)
    assert "1.2.3.1.7" not in await carried(world, there)
    assert len(await world.shares()) == 2, "and the source's is no result of what came back"
    await made(world, 9, source="RQM")
    await world.quiet()
    await world.confirm_all()
    [there] = [one for one in await world.shares() if one.id == cause.id]
    assert "1.2.3.1.9" in await carried(world, there), "a report of its own goes there"
    assert len(await world.shares()) == 2


async def test_without_an_agreement_back_nothing_is_made(empty_database_url: str) -> None:
    async with routing_world(empty_database_url, directory(back="")) as world:
        await shared(world)
        await made(world, 7)
        assert len(await world.shares()) == 1
        [answer] = [one.answer for one in await world.rows(tables.decisions) if one.source == "RT3"]
        [spared] = answer["decided"]
        assert (spared["action"], spared["origin"], spared["recipient"]) == ("spare", "return", "RQM")
        assert "no agreement covers RT3 to RQM" in spared["reason"]


async def test_where_returns_are_agreed_the_missing_way_back_is_refused_in_words(
    empty_database_url: str,
) -> None:
    async with routing_world(empty_database_url, directory(", returns: automatic", back="")) as world:
        await shared(world)
        await made(world, 7)
        [back] = await returned(world)
        assert back.state == "refused"
        assert "agreement" in back.reason and "RT3 to RQM" in back.reason


async def test_an_agreement_may_leave_returns_to_people(empty_database_url: str) -> None:
    async with routing_world(empty_database_url, directory(", returns: addressed")) as world:
        await shared(world)
        await made(world, 7)
        assert not await returned(world)
        await world.commanded(world.command("create", source="RT3", recipient="RQM", actor_institution="RT3"))
        assert [one.origin for one in await world.shares()] == ["rule", "command"]


async def test_a_study_that_was_never_shared_with_its_sender_goes_nowhere(world: World) -> None:
    await made(world, 7)
    assert not await world.shares()


async def test_what_was_revoked_brings_nothing_back(world: World) -> None:
    cause = await shared(world)
    await world.commanded(world.command("revoke", share=cause.id))
    await made(world, 7)
    assert not await returned(world)


async def test_who_addresses_the_origin_sends_everything(world: World) -> None:
    """And not a second time by itself."""
    world.directories.apply(directory(back=BACK.replace(", modalities: [SR, SEG]", "")))
    await shared(world)
    sending = Sending(world, source="RT3", recipient="RQM")
    image = sending.accepted(3, sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
    await world.validated(*image, *sending.accepted(7, **SR), sending.over(2))
    await made(world, 8)
    [_, back] = await world.shares()
    assert back.origin == "called"
    await world.quiet()
    assert len(await carried(world, back)) == 3


async def test_a_return_becomes_a_share_of_all_where_somebody_asks_for_it(world: World) -> None:
    world.directories.apply(directory(back=BACK.replace(", modalities: [SR, SEG]", "")))
    await shared(world)
    await made(world, 3, sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
    await made(world, 7)
    await world.quiet()
    await world.confirm_all()
    await world.commanded(world.command("create", source="RT3", recipient="RQM", actor_institution="RT3"))
    [_, back] = await world.shares()
    assert (back.origin, back.state, back.left_out) == ("command", "delivering", None)
    await world.quiet()
    await world.confirm_all()
    [_, back] = await world.shares()
    assert (back.state, back.confirmed) == ("delivered", 2)
    assert await carried(world, back) == {"1.2.3.1.3", "1.2.3.1.7"}
    [result] = await world.rows(tables.command_results)
    assert (result.outcome, result.share) == ("done", back.id)


async def test_an_emergency_s_result_does_not_wait(empty_database_url: str) -> None:
    urgent = directory().replace("to: [RT3]}", "to: [RT3], priority: emergency}")
    async with routing_world(empty_database_url, urgent) as world:
        sending = Sending(world)
        await world.validated(*sending.accepted(1))
        await made(world, 3, sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
        await made(world, 7)
        [back] = await returned(world)
        assert (back.priority, back.state) == ("emergency", "delivering")
        assert await carried(world, back) == {"1.2.3.1.7"}


async def test_a_result_in_quarantine_is_missing_and_an_image_is_not(world: World) -> None:
    await shared(world)
    await made(world, 7)
    sending = Sending(world, source="RT3")
    image, report = uuid4(), uuid4()
    await world.validated(
        sending.held(3, image, "bad image", sop_class_uid="1.2.840.10008.5.1.4.1.1.2"), sending.over(1)
    )
    await world.quiet()
    await world.confirm_all()
    [back] = await returned(world)
    assert (back.state, back.left_out["waiting"]) == ("delivered", 1)
    await world.validated(sending.held(8, report, "bad report", **SR))
    [back] = await returned(world)
    assert (back.state, back.reason) == (
        "partial", "1 of 2 instances missing: 1 in quarantine (bad report)",
    )  # fmt: skip


@pytest.mark.parametrize("sooner", [False, True])
async def test_what_left_de_identified_comes_back_by_the_uid_that_it_was_given(
    empty_database_url: str, sooner: bool
) -> None:
    """Also where the result comes before delivery has told of the UID."""
    demanded = directory(", deidentify: {project: p1}")
    async with routing_world(empty_database_url, demanded) as world:
        sending = Sending(world)
        await world.validated(*sending.accepted(1), sending.over(1))
        await world.quiet()
        cause = await world.share()
        assert cause.deidentified
        [part] = world.parts()
        told = world.progressed(part, part.instances, {})
        data = told.data.model_copy(update={"given_study_uid": "2.25.9"})
        report = Sending(world, study_uid="2.25.9", source="RT3")
        if sooner:
            await world.validated(*report.accepted(7, **SR), report.over(1))
            await world.quiet()
            assert not await returned(world)
        await world.delivered(told.model_copy(update={"data": data}))
        await world.delivered(world.completed(part, 1))
        await Results(world.database, world.around).turn()
        await world._collect()
        assert len(await returned(world)) == sooner
        if not sooner:
            await world.validated(*report.accepted(7, **SR), report.over(1))
        await world.quiet()
        await world.confirm_all()
        [back] = await returned(world)
        assert (back.study_uid, back.recipient, back.state) == ("2.25.9", "RQM", "delivered")
        await Results(world.database, world.around).turn()
        await world._collect()
        [told] = world.said(ShareResultReturned)
        assert (told.data.share, told.data.result, told.data.study_uid) == (cause.id, back.id, "1.2.3")


async def test_a_result_with_a_study_of_its_own_goes_back_for_what_it_refers_to(world: World) -> None:
    cause = await shared(world)
    own = Sending(world, study_uid="1.2.99", source="RT3")
    await world.validated(*own.accepted(1, referenced_studies=("1.2.3", "1.2.4"), **SR), own.over(1))
    await world.quiet()
    await world.confirm_all()
    [back] = await returned(world)
    assert (back.study_uid, back.recipient, back.state) == ("1.2.99", "RQM", "delivered")
    await Results(world.database, world.around).turn()
    await world._collect()
    [told] = world.said(ShareResultReturned)
    assert (told.data.share, told.data.result) == (cause.id, back.id)
    unrelated = Sending(world, study_uid="1.2.98", source="RT3")
    await world.validated(*unrelated.accepted(1, referenced_studies=("1.2.4",), **SR), unrelated.over(1))
    images = Sending(world, study_uid="1.2.97", source="RT3")
    await world.validated(*images.accepted(1, referenced_studies=("1.2.3",)), images.over(1))
    assert len(await returned(world)) == 1


FROM_BOTH = directory(back=BACK.replace("to: RQM", "to: [RQM, RW6]")).replace(
    "name: Hospital C\n", "name: Hospital C\n    senders: [{ae_title: RW6_PACS}]\n"
)
FROM_BOTH = FROM_BOTH.replace(
    "rules:\n",
    "  - {id: a3, from: RW6, to: RT3, purposes: [direct-care], legal_basis: b}\n"
    "rules:\n  - {id: r2, match: {source: RW6, modality: CT}, to: [RT3]}\n",
)


@pytest.mark.parametrize("first", ["alone", "collecting", "delivered"])
async def test_results_about_studies_of_different_origins_go_back_to_none_by_themselves(
    empty_database_url: str, first: str
) -> None:
    """Also where the first of them was about one study alone: the others would go along."""
    async with routing_world(empty_database_url, FROM_BOTH) as world:
        await shared(world)
        other = Sending(world, source="RW6", study_uid="1.2.4")
        await world.validated(*other.accepted(1), other.over(1))
        await world.quiet()
        await world.confirm_all()
        own = Sending(world, study_uid="1.2.99", source="RT3")
        if first != "alone":
            await world.validated(*own.accepted(1, referenced_studies=("1.2.3",), **SR))
            await world.validated(own.over(1))
        if first == "delivered":
            await world.quiet()
            await world.confirm_all()
        assert {one.state for one in await returned(world)} == ({first} - {"alone"})
        both = ("1.2.3", "1.2.4") if first == "alone" else ("1.2.4",)
        more = Sending(world, study_uid="1.2.99", source="RT3")
        await world.validated(*more.accepted(2, referenced_studies=both, **SR), more.over(1))
        await world.quiet()
        ended = {one.recipient: (one.state, await carried(world, one)) for one in await returned(world)}
        assert (
            ended
            == {
                "alone": {},
                "collecting": {"RQM": ("refused", set())},
                "delivered": {"RQM": ("revoked", {"1.2.99.1.1"})},
            }[first]
        )
        answer = [one.answer for one in await world.rows(tables.decisions) if one.source == "RT3"][-1]
        spared = {one["recipient"]: one["reason"] for one in answer["decided"] if one["action"] == "spare"}
        assert spared.keys() == {"RQM", "RW6"}
        assert all("none goes back by itself" in words for words in spared.values())


async def test_results_about_more_studies_than_are_remembered_go_back_to_nobody(world: World) -> None:
    await shared(world)
    many = ("1.2.3", *(f"1.2.5.{number}" for number in range(MOST_REFERENCED)))
    for uid, about in (("1.2.98", many[:-2]), ("1.2.99", many)):
        own = Sending(world, study_uid=uid, source="RT3")
        await world.validated(*own.accepted(1, referenced_studies=about, **SR), own.over(1))
    assert [one.study_uid for one in await returned(world)] == ["1.2.98"]


async def test_after_a_result_came_back_a_study_is_shared_again_when_it_is_sent_again(world: World) -> None:
    cause = await shared(world)
    await made(world, 7)
    await world.quiet()
    await world.confirm_all()
    ended = update(tables.shares).where(tables.shares.c.id == cause.id).values(state="failed")
    async with world.database.engine.begin() as connection:
        await connection.execute(ended)
    again = Sending(world)
    await world.validated(*again.accepted(3), again.over(1))
    assert [one.episode for one in await world.shares() if one.origin == "rule"] == [1, 2]
