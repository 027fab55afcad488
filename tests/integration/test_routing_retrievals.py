"""Requests whose studies are fetched from the holder, as routing sees them."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.routing_world import AGREED, HOSPITALS, NHS_NUMBER, TO_B, Sending, World, routing_world
from tests.integration.test_routing_requests import PERSON, row, said, studies

from imex.db.tables import routing as tables
from imex.events.commands import SubjectCommanded, SubjectCommandedData
from imex.events.retrievals import (
    RetrievalMatched,
    RetrievalMatchedData,
    RetrievalOrdered,
    RetrievalProgressed,
    RetrievalProgressedData,
    RetrievalWithdrawn,
)
from imex.events.sealed import Sealed
from imex.routing import granting

ARCHIVE = "{name: archive, type: dicom, ae_title: RQM_PACS, host: 127.0.0.1, port: 4242, query: true}"
ASKED = HOSPITALS.replace(
    "senders: [{ae_title: RQM_PACS}]}", f"senders: [{{ae_title: RQM_PACS}}], endpoints: [{ARCHIVE}]}}"
)
AUTOMATIC = AGREED.replace('basis: "UK GDPR 6(1)(e)"', 'basis: "UK GDPR 6(1)(e)", requests: automatic')


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, ASKED + AGREED) as made:
        yield made


async def granted(world: World, **more: Any) -> UUID:
    request = uuid4()
    await said(world, "make", request, wanted=PERSON, reason="clinic on Monday", **more)
    result = await said(world, "grant", request, actor="paul", actor_institution="RQM", reason="as asked")
    assert result.outcome == "done"
    return request


async def matched(world: World, request: UUID, *uids: str, order: int = 1) -> None:
    data = RetrievalMatchedData(request=request, order=order, holder="RQM", endpoint="archive", studies=uids)
    await world.delivered(RetrievalMatched.of(id=uuid4(), subject="request", data=data))


async def progressed(world: World, request: UUID, state: Any, reason: str = "", order: int = 1) -> None:
    data = RetrievalProgressedData(request=request, order=order, holder="RQM", state=state, reason=reason)
    await world.delivered(RetrievalProgressed.of(id=uuid4(), subject="request", data=data))


async def fetched(world: World, uid: str, modality: str = "CT") -> None:
    sending = Sending(world, study_uid=uid, modality=modality)
    await world.validated(*sending.accepted(1, 2, retrieved=True), sending.over(2))


async def test_what_is_fetched_is_shared_once_and_who_was_meant_is_forgotten(world: World) -> None:
    request = await granted(world, priority="urgent")
    [order] = [event.data for event in world.said(RetrievalOrdered)]
    assert (order.holder, order.endpoints, order.order, order.priority) == ("RQM", ("archive",), 1, "urgent")
    assert order.wanted is not None
    found = await row(world)
    assert (found.state, found.retrieval, found.granted_by) == ("open", "asking", "paul")
    await matched(world, request, "1.2.7", "1.2.8")
    await progressed(world, request, "retrieving", "2 studies are fetched")
    await world.answer()
    assert await world.shares() == []
    await fetched(world, "1.2.7")
    await world.answer()
    share = await world.share()
    assert (share.study_uid, share.recipient, share.reference, share.priority) == (
        "1.2.7",
        "RT3",
        str(request),
        "urgent",
    )
    found = await row(world)
    assert (found.state, found.answer, found.decided_by) == ("granted", "as asked", "paul")
    assert found.wanted is not None, "another order may be wanted yet"
    await fetched(world, "1.2.8")
    for _ in range(3):
        world.clock.pass_(6)
        await world.answer()
    await progressed(world, request, "complete")
    assert {one.study_uid for one in await world.shares()} == {"1.2.7", "1.2.8"}
    assert len(await world.rows(tables.request_shares)) == 2
    assert (await row(world)).wanted is None


async def test_images_may_come_before_the_answer_and_in_part(world: World) -> None:
    await studies(world, "1.2.7")
    request = await granted(world)
    share = await world.share()
    [order] = [event.data for event in world.said(RetrievalOrdered)]
    assert [(one.study_uid, one.instances) for one in order.held] == [("1.2.7", 1)]
    await fetched(world, "1.2.7")
    await fetched(world, "1.2.8")
    await matched(world, request, "1.2.7", "1.2.8")
    await matched(world, request, "1.2.7", "1.2.8")
    await world.answer()
    await world.answer()
    made = {one.study_uid: one.id for one in await world.shares()}
    assert made["1.2.7"] == share.id
    assert len(made) == len(await world.shares()) == 2


async def test_what_was_fetched_sets_off_no_rule_until_somebody_sends_it(empty_database_url: str) -> None:
    async with routing_world(empty_database_url, ASKED + AGREED + TO_B) as world:
        await fetched(world, "1.2.7")
        assert await world.shares() == []
        sending = Sending(world, study_uid="1.2.7")
        await world.validated(*sending.again(1, 2), sending.over(2))
        assert (await world.share()).rule == "r1"


async def test_a_study_that_was_revoked_is_not_shared_by_rules_because_it_was_fetched(
    empty_database_url: str,
) -> None:
    async with routing_world(empty_database_url, ASKED + AGREED + TO_B) as world:
        await studies(world, "1.2.3")
        await world.commanded(world.command("revoke", share=(await world.share()).id))
        await world.quiet()
        sending = Sending(world, study_uid="1.2.3")
        await world.validated(*sending.accepted(1, 2, retrieved=True), sending.over(2))
        await world.quiet()
        assert [one.state for one in await world.shares()] == ["revoked"]


async def test_nothing_is_fetched_for_who_has_withdrawn_and_what_comes_late_is_not_shared(
    world: World,
) -> None:
    request = await granted(world)
    await matched(world, request, "1.2.7")
    assert (await said(world, "grant", request, actor_institution="RQM")).outcome == "rejected"
    assert (await said(world, "withdraw", request)).outcome == "done"
    [withdrawn] = world.said(RetrievalWithdrawn)
    assert (withdrawn.data.request, withdrawn.data.order) == (request, 1)
    await matched(world, request, "1.2.8")
    for uid in ("1.2.7", "1.2.8"):
        await fetched(world, uid)
    await world.answer()
    assert await world.shares() == []
    found = await row(world)
    assert (found.state, found.wanted) == ("withdrawn", None)


async def test_what_failed_is_tried_again_by_the_holder_and_earlier_words_count_no_more(
    world: World,
) -> None:
    request = await granted(world)
    assert (await said(world, "retry", request, actor_institution="RQM")).outcome == "rejected"
    await progressed(world, request, "failed", "archive: the association was rejected")
    assert (await said(world, "retry", request)).outcome == "rejected", "the requester"
    assert (await said(world, "retry", request, actor_institution="RQM")).outcome == "done"
    assert [event.data.order for event in world.said(RetrievalOrdered)] == [1, 2]
    await progressed(world, request, "failed", "said of the first order", order=1)
    found = await row(world)
    assert (found.retrieval, found.retrieval_words, found.state) == ("asking", "", "open")
    await progressed(world, request, "nothing found", order=2)
    assert (await row(world)).state == "open", "the requester learns nothing of it"
    world.clock.pass_(15 * 86_400)
    await world.sweeper.expire()
    found = await row(world)
    assert (found.state, found.wanted) == ("expired", None)


async def test_what_the_images_say_is_another_persons_is_not_shared_in_answer(world: World) -> None:
    request = await granted(world)
    await matched(world, request, "1.2.7", "1.2.8")
    somebody_else = Sealed(key_id="k", nonce="", ciphertext="H-777")
    sending = Sending(world, study_uid="1.2.7")
    await world.validated(*sending.accepted(1, 2, retrieved=True, identity=somebody_else), sending.over(2))
    for _ in range(2):
        world.clock.pass_(6)
        await world.answer()
    assert await world.shares() == []
    await fetched(world, "1.2.8")
    world.clock.pass_(6)
    await world.answer()
    assert [one.study_uid for one in await world.shares()] == ["1.2.8"]


async def test_what_is_fetched_is_shared_however_many_newer_ones_are_here(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(granting, "MOST_STUDIES", 1)
    await studies(world, "1.2.7")
    await studies(world, "1.2.8")
    request = await granted(world)
    assert [one.study_uid for one in await world.shares()] == ["1.2.8"]
    await matched(world, request, "1.2.7")
    await fetched(world, "1.2.7")
    await world.answer()
    assert {one.study_uid for one in await world.shares()} == {"1.2.7", "1.2.8"}


async def test_what_does_not_fit_waits_for_the_rest_of_it(world: World) -> None:
    request = await granted(world, modality="MR")
    await matched(world, request, "1.2.7")
    await fetched(world, "1.2.7", modality="CT")
    await world.answer()
    assert await world.shares() == []
    sending = Sending(world, study_uid="1.2.7", modality="MR")
    await world.validated(*sending.accepted(8, retrieved=True), sending.over(1))
    world.clock.pass_(6)
    await world.answer()
    assert (await world.share()).study_uid == "1.2.7"


async def test_what_no_agreement_lets_go_is_decided_about_once(world: World) -> None:
    await world.marked(sensitive=True)
    request = await granted(world)
    await matched(world, request, "1.2.7")
    await fetched(world, "1.2.7")
    for _ in range(3):
        await world.answer()
        world.clock.pass_(6)
    assert [one.state for one in await world.shares()] == ["refused"]
    assert await world.rows(tables.request_shares) == []
    assert (await row(world)).state == "open"


async def test_an_automatic_grant_meets_what_comes_in_later(empty_database_url: str) -> None:
    async with routing_world(empty_database_url, HOSPITALS + AUTOMATIC) as world:
        await said(world, "make", uuid4(), wanted=PERSON, reason="stroke")
        found = await row(world)
        assert (found.state, found.retrieval) == ("open", None)
        world.clock.pass_(6)
        await world.answer()
        await studies(world, "1.2.3")
        await world.answer()
        assert (await row(world)).state == "granted"
        assert (await world.share()).study_uid == "1.2.3"
        assert (await row(world)).wanted is None


async def erased(world: World, patient_id: str) -> Any:
    subject = uuid4()
    data = SubjectCommandedData(
        command="erase",
        subject=subject,
        person=Sealed(key_id="k", nonce="", ciphertext=patient_id),
        studies=(),
        actor="admin",
    )
    await world.commanded(SubjectCommanded.of(id=uuid4(), subject="subject", time=world.clock.now, data=data))
    findings = await world.rows(tables.subject_findings)
    [answer] = [one for one in findings if one.command == subject]
    places = {one["place"]: (one["found"], one["done"]) for one in answer.findings}
    return places.get("routing.requests", (0, 0))


async def test_nothing_more_is_fetched_of_who_has_asked_to_be_erased(world: World) -> None:
    await granted(world)
    assert await erased(world, "9990000018") == (0, 0)
    assert (await row(world)).wanted is not None
    assert await erased(world, NHS_NUMBER) == (1, 1)
    found = await row(world)
    assert (found.state, found.answer, found.wanted) == ("expired", "nobody has decided about it", None)
    assert len(world.said(RetrievalWithdrawn)) == 1


async def test_only_what_the_agreements_cover_is_ordered(empty_database_url: str) -> None:
    some = AGREED.replace('basis: "UK GDPR 6(1)(e)"', 'basis: "UK GDPR 6(1)(e)", modalities: [CT, MR]')
    async with routing_world(empty_database_url, ASKED + some) as world:
        await granted(world)
        [order] = [event.data for event in world.said(RetrievalOrdered)]
        assert order.modalities == ("CT", "MR")
        world.directories.apply(ASKED)
        request = uuid4()
        world.directories.apply(ASKED + some)
        await said(world, "make", request, wanted=PERSON, reason="x")
        world.directories.apply(ASKED)
        assert (await said(world, "grant", request, actor_institution="RQM")).outcome == "rejected"
        assert len(world.said(RetrievalOrdered)) == 1


STEPS = ("matched", "half", "rest", "answer", "complete", "matched again")


@pytest.mark.parametrize("order", [STEPS, STEPS[::-1], STEPS[2:] + STEPS[:2], STEPS[1:] + STEPS[:1]])
@pytest.mark.parametrize("held", [False, True])
async def test_in_whatever_order_it_is_heard_of_it_is_shared_once(
    world: World, order: tuple[str, ...], held: bool
) -> None:
    if held:
        sending = Sending(world, study_uid="1.2.7")
        await world.validated(*sending.accepted(1), sending.over(1))
    request = await granted(world)
    half, rest = Sending(world, study_uid="1.2.7"), Sending(world, study_uid="1.2.7")
    for step in order:
        match step:
            case "matched" | "matched again":
                await matched(world, request, "1.2.7")
            case "half":
                await world.validated(*half.accepted(2, retrieved=True), half.over(1))
            case "rest":
                await world.validated(*rest.accepted(3, 4, retrieved=True), rest.over(2))
            case "answer":
                await world.answer()
            case "complete":
                await progressed(world, request, "complete")
        world.clock.pass_(6)
    await world.answer()
    await world.quiet()
    await world.confirm_all()
    share = await world.share()
    assert (share.state, share.confirmed) == ("delivered", 4 if held else 3)
    assert (await row(world)).state == "granted"
    assert [one.share for one in await world.rows(tables.request_shares)] == [share.id]
    assert (await world.steps(share.id)).count("request_granted") == 1
