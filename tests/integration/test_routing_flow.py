"""Routing over a real PostgreSQL: how shares come about, are handed over, and end."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.integration.routing_world import (
    AGREED,
    GRACE_S,
    HOSPITALS,
    QUIET_S,
    TO_B,
    Sending,
    World,
    routing_world,
)

from imex.db.tables import routing as tables
from imex.events.audit import AuditRecorded
from imex.events.manifests import ManifestClosed, ManifestWithdrawn
from imex.events.shares import ShareCompleted, SharePartiallyDelivered, ShareRefused


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


async def test_a_standing_rule_shares_a_study_once_it_is_complete(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2))
    assert (await world.share()).state == "collecting"
    assert not world.parts()
    await world.validated(*sending.accepted(3), sending.over(3))
    await world.quiet()
    share = await world.share()
    assert (share.state, share.rule, share.agreement) == ("delivering", "r1", "a1")
    assert share.legal_basis == "UK GDPR 6(1)(e)"
    (part,) = world.parts()
    assert [one.sop_instance_uid for one in part.instances] == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3"]
    assert (part.endpoint, part.lane, part.part) == ("pacs", "bulk", 1)
    (closed,) = world.said(ManifestClosed)
    assert (closed.data.revision, closed.data.parts, closed.data.instances) == (1, 1, 3)
    await world.confirm_all()
    assert (await world.share()).state == "delivered"
    assert await world.steps() == [
        "received", "validated", "requested", "accepted", "collecting", "completed", "delivering",
        "first_image_received", "delivered",
    ]  # fmt: skip
    assert world.partner_words() == [
        "requested", "accepted", "completed", "first_image_received", "delivered",
    ]  # fmt: skip
    events = [event for event in world.published if event.type.startswith("imex.share.")]
    assert [event.data.sequence for event in events] == [1, 2, 3, 4, 5]
    (completed,) = world.said(ShareCompleted)
    assert (completed.data.instances, completed.data.bytes) == (3, 3000)
    assert [e.data.action for e in world.said(AuditRecorded)] == [
        "share_requested", "share_accepted", "share_delivered",
    ]  # fmt: skip


async def test_what_is_known_of_the_study_is_kept(world: World) -> None:
    await world.validated(*Sending(world).accepted(1))
    (study,) = await world.rows(tables.studies)
    assert (study.accession, study.patient_id, study.modalities) == ("ACC1", "9434765919", ["CT"])
    assert (study.received, study.bytes) == (1, 1000)


async def test_a_repeated_batch_has_no_second_effect(world: World) -> None:
    events = Sending(world).accepted(1, 2)
    await world.validated(*events)
    first = (await world.steps(), len(world.published))
    await world.validated(*events)
    assert (await world.steps(), len(world.published)) == first


async def test_a_share_without_an_agreement_is_refused_once(world: World) -> None:
    world.directories.apply(HOSPITALS + TO_B)
    sending = Sending(world)
    await world.validated(*sending.accepted(1))
    await world.validated(*sending.accepted(2), sending.over(2))
    share = await world.share()
    assert share.state == "refused"
    assert "agreement" in share.reason
    await world.quiet()
    assert not world.parts()
    (refused,) = world.said(ShareRefused)
    assert "agreement" in refused.data.reason
    assert [(e.data.action, e.data.outcome) for e in world.said(AuditRecorded)][-1] == (
        "share_refused",
        "refused",
    )


async def test_a_refused_study_sent_again_once_there_is_an_agreement_is_shared(world: World) -> None:
    world.directories.apply(HOSPITALS + TO_B)
    first = Sending(world)
    await world.validated(*first.accepted(1, 2), first.over(2))
    await world.quiet()
    world.directories.apply(HOSPITALS + AGREED + TO_B)
    again = Sending(world)
    await world.validated(*again.again(1, 2), again.over())
    await world.quiet()
    refused, shared = await world.shares()
    assert (refused.state, shared.state, shared.episode) == ("refused", "delivering", 2)
    assert len(world.parts()[0].instances) == 2


async def test_a_refused_study_sent_again_without_an_agreement_is_noted(world: World) -> None:
    world.directories.apply(HOSPITALS + TO_B)
    first = Sending(world)
    await world.validated(*first.accepted(1), first.over(1))
    await world.quiet()
    again = Sending(world)
    await world.validated(*again.again(1), again.over())
    assert (await world.share()).state == "refused"
    assert "repeated" in await world.steps()


async def test_a_recipient_as_called_ae_title(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED)
    await world.validated(*Sending(world, recipient="RW6").accepted(1))
    share = await world.share()
    assert (share.recipient, share.origin, share.state) == ("RW6", "called", "collecting")


async def test_a_group_as_called_ae_title_goes_to_its_members(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED)
    await world.validated(*Sending(world, recipient="NET").accepted(1))
    assert [share.recipient for share in await world.shares()] == ["RT3", "RW6"]


async def test_two_rules_to_one_recipient_make_one_share_of_the_higher_priority(world: World) -> None:
    rules = TO_B + "  - {id: r2, match: {source: RQM}, to: [NET], priority: urgent}\n"
    world.directories.apply(HOSPITALS + AGREED + rules)
    await world.validated(*Sending(world).accepted(1))
    shares = {share.recipient: (share.rule, share.priority) for share in await world.shares()}
    assert shares == {"RT3": ("r2", "urgent"), "RW6": ("r2", "urgent")}


async def test_a_study_that_nothing_addresses_is_listed_and_expires(world: World) -> None:
    await world.validated(*Sending(world, modality="MR").accepted(1))
    assert await world.shares() == []
    (study,) = await world.rows(tables.studies)
    assert study.expires_at is not None
    world.clock.pass_(15 * 86400)
    await world.sweeper.expire()
    (study,) = await world.rows(tables.studies)
    assert study.expired_at is not None


async def test_a_rule_that_matches_only_later_shares_the_whole_study(world: World) -> None:
    await world.validated(*Sending(world, modality="SR").accepted(1))
    assert await world.shares() == []
    ct = Sending(world, modality="CT")
    await world.validated(*ct.accepted(2), ct.over(1))
    await world.quiet(QUIET_S + GRACE_S)
    assert len(world.parts()[0].instances) == 2


async def test_an_emergency_goes_instance_by_instance(world: World) -> None:
    rule = "rules:\n  - {id: e, match: {source: RQM}, to: [RT3], priority: emergency}\n"
    world.directories.apply(HOSPITALS + AGREED + rule)
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2))
    assert [(p.part, len(p.instances), p.lane) for p in world.parts()] == [(1, 2, "express")]
    await world.validated(*sending.accepted(3), sending.over(3))
    assert [(p.part, len(p.instances)) for p in world.parts()] == [(1, 2), (2, 1)]
    await world.delivered(world.progressed(world.parts()[0], world.parts()[0].instances, {}))
    assert "first_image_received" in world.partner_words()
    assert (await world.share()).state == "delivering"
    await world.quiet()
    (closed,) = world.said(ManifestClosed)
    assert (closed.data.parts, closed.data.instances, closed.data.lane) == (2, 3, "express")
    await world.confirm_all()
    assert (await world.share()).state == "delivered"


async def test_a_large_study_goes_in_parts(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(*range(1, 421)), sending.over(420))
    await world.quiet()
    assert [len(part.instances) for part in world.parts()] == [200, 200, 20]


async def test_a_late_instance_takes_a_delivered_share_back(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.confirm_all()
    late = Sending(world)
    await world.validated(*late.accepted(2), late.over(1))
    share = await world.share()
    assert (share.state, share.complete) == ("delivering", False)
    await world.quiet()
    part = world.parts()[-1]
    assert (part.part, [one.sop_instance_uid for one in part.instances]) == (2, ["1.2.3.1.2"])
    closed = world.said(ManifestClosed)[-1].data
    assert (closed.revision, closed.parts, closed.instances) == (2, 2, 2)
    await world.confirm_all()
    assert (await world.share()).state == "delivered"


async def test_the_same_study_again_is_noted_and_not_delivered_twice(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()
    await world.confirm_all()
    again = Sending(world)
    await world.validated(*again.again(1), *again.again(2), again.over())
    await world.quiet()
    assert (await world.share()).state == "delivered"
    assert len(world.parts()) == 1
    assert len(world.said(ManifestClosed)) == 1
    assert (await world.steps()).count("repeated") == 1


async def test_an_instance_in_quarantine_makes_the_share_partial_until_it_is_released(world: World) -> None:
    sending, entry = Sending(world), uuid4()
    await world.validated(*sending.accepted(1), sending.held(2, entry), sending.over(2))
    await world.quiet()
    await world.confirm_all()
    share = await world.share()
    assert share.state == "partial"
    assert share.reason == "1 of 2 instances missing: 1 in quarantine (bad check digit)"
    (partial,) = world.said(SharePartiallyDelivered)
    assert (partial.data.delivered, partial.data.missing) == (1, 1)
    await world.validated(*sending.accepted(2, released=True, quarantine=entry))
    assert (await world.share()).state == "delivering"
    await world.quiet()
    await world.confirm_all()
    assert (await world.share()).state == "delivered"
    assert "released" in await world.steps()


async def test_a_discarded_instance_leaves_the_share_partial(world: World) -> None:
    sending, entry = Sending(world), uuid4()
    await world.validated(*sending.accepted(1), sending.held(2, entry), sending.over(2))
    await world.quiet()
    await world.confirm_all()
    await world.validated(sending.discarded(2, entry))
    share = await world.share()
    assert (share.state, share.reason) == (
        "partial",
        "1 of 2 instances missing: 1 discarded from quarantine",
    )


async def test_an_instance_held_after_the_delivery_makes_it_partial(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.confirm_all()
    await world.validated(Sending(world).held(2, uuid4()))
    assert (await world.share()).state == "partial"


async def test_a_study_wholly_in_quarantine_has_a_share_that_says_so(world: World) -> None:
    sending = Sending(world)
    await world.validated(sending.held(1, uuid4()), sending.held(2, uuid4()), sending.over(2))
    await world.quiet()
    share = await world.share()
    assert share.state == "partial"
    assert "2 in quarantine" in share.reason
    assert not world.parts()


async def test_what_the_destination_does_not_take_makes_the_share_partial(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()
    await world.delivered(world.attempted(world.parts()[0], 1, "connection refused"))
    await world.confirm_all(failing={"1.2.3.1.2": "A900 data set does not match SOP class"})
    share = await world.share()
    assert share.state == "partial"
    assert "1 not accepted by RT3 (A900 data set does not match SOP class)" in share.reason
    assert "delivery_attempted" in await world.steps()
    part = world.parts()[0]
    await world.delivered(world.progressed(part, part.instances, {}), world.completed(part, 2))
    assert (await world.share()).state == "delivered"


async def test_what_a_person_has_done_to_a_delivery_is_a_step_and_a_retry_resumes_it(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    (part,) = world.parts()
    paused = world.steered(part, "pause", whole_destination=True)
    await world.delivered(paused, paused, world.steered(part, "resume", whole_destination=True))
    await world.delivered(world.steered(part, "reroute", from_endpoint="pacs"))
    steps = await world.steps()
    assert [step for step in steps if step in {"paused", "resumed", "rerouted"}] == [
        "paused",
        "resumed",
        "rerouted",
    ]
    assert (await world.share()).state == "delivering"
    await world.delivered(world.ended(part, "failed", "destination unknown"))
    await world.delivered(world.steered(part, "retry"))
    assert (await world.share()).state == "delivering", "its payloads stay meanwhile"


async def test_a_delivery_given_up_ends_the_share_and_a_resend_opens_an_episode(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.delivered(world.ended(world.parts()[0], "failed", "destination unknown"))
    share = await world.share()
    assert (share.state, share.reason) == ("failed", "destination unknown")
    assert not world.said(ManifestWithdrawn)
    again = Sending(world)
    await world.validated(*again.again(1), again.over())
    await world.quiet()
    assert [(share.episode, share.state) for share in await world.shares()] == [
        (1, "failed"),
        (2, "delivering"),
    ]


@pytest.mark.parametrize("outcome", ["expired", "cancelled"])
async def test_a_share_that_ended_with_its_delivery_is_withdrawn_so_that_no_retry_sends_it(
    world: World, outcome: str
) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.delivered(world.ended(world.parts()[0], outcome, "too late"))
    assert (await world.share()).state == outcome
    assert len(world.said(ManifestWithdrawn)) == 1


async def test_a_failed_delivery_that_a_person_has_tried_again_goes_on(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.delivered(world.ended(world.parts()[0], "failed", "destination unknown"))
    await world.delivered(world.attempted(world.parts()[0], 2, "connection refused"))
    assert (await world.share()).state == "delivering"
    await world.confirm_all()
    assert (await world.share()).state == "delivered"


async def test_a_more_urgent_rule_that_matches_later_raises_the_share(world: World) -> None:
    urgent = "  - {id: e, match: {source: RQM, modality: XA}, to: [RT3], priority: emergency}\n"
    world.directories.apply(HOSPITALS + AGREED + TO_B + urgent)
    await world.validated(*Sending(world).accepted(1))
    assert not world.parts()
    await world.validated(*Sending(world, modality="XA").accepted(2))
    (part,) = world.parts()
    assert (len(part.instances), part.lane, part.priority) == (2, "express", "emergency")
    share = await world.share()
    assert (share.rule, share.priority, share.state) == ("e", "emergency", "delivering")


async def test_more_of_the_same_sending_does_not_revive_an_ended_share(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1))
    await world.commanded(world.command("cancel", share=(await world.share()).id))
    await world.validated(*sending.accepted(2), *Sending(world).accepted(3))
    assert (await world.share()).state == "cancelled"


async def test_an_agreement_for_one_modality_withholds_a_study_that_turns_out_to_have_another(
    world: World,
) -> None:
    agreed = AGREED.replace("purposes:", "modalities: [CT], purposes:")
    world.directories.apply(HOSPITALS + agreed + TO_B)
    await world.validated(*Sending(world).accepted(1))
    await world.validated(*Sending(world, modality="MR").accepted(2))
    share = await world.share()
    assert share.state == "refused"
    assert "agreement" in share.reason


async def test_a_recipient_without_an_endpoint_fails_with_words(world: World) -> None:
    directory = HOSPITALS.replace(
        "name: Hospital A, kind: nhs,", "name: Hospital A, kind: nhs, endpoints: [],"
    )
    nowhere = directory.replace(
        "    endpoints: [{name: pacs, type: dicom, ae_title: RT3_PACS, host: 127.0.0.1, port: 4243}]\n", ""
    )
    world.directories.apply(nowhere + AGREED + TO_B)
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    share = await world.share()
    assert (share.state, share.reason) == ("failed", "RT3 has no endpoint in the directory")


async def test_a_share_expires_when_it_is_not_delivered(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    world.clock.pass_(15 * 86400)
    await world.sweeper.expire()
    assert (await world.share()).state == "expired"
