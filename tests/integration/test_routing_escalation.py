"""Shares that are not delivered in their time: they become more urgent, and people are told."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.integration.routing_world import AGREED, HOSPITALS, TO_B, Sending, World, routing_world

from imex.db.tables import routing as tables
from imex.events.audit import AuditRecorded
from imex.events.manifests import ManifestPrioritised
from imex.events.shares import ShareEscalated
from imex.routing.escalation import Escalation, Objectives
from imex.routing.surroundings import Surroundings


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


IN_TIME = TO_B.replace("to: [RT3]}", "to: [RT3], quiet_s: 10, escalate: {after_s: 30, to: emergency}}")


async def came(world: World, count: int) -> None:
    """One association with a whole study."""
    sending = Sending(world)
    await world.validated(*sending.accepted(*range(1, count + 1)), sending.over(count))


async def look(world: World, objectives: Objectives | None = None) -> None:
    """One turn of the loop."""
    around = Surroundings(world.directories, world.orders._around.traces, world.clock)
    await Escalation(world.database, around, objectives or Objectives()).turn()
    await world._collect()


async def test_a_late_share_is_raised_as_its_rule_says_and_keeps_its_lane(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED + IN_TIME)
    await came(world, 2)
    await world.quiet(11)
    await look(world)
    assert not world.said(ShareEscalated), "it is not late yet"

    world.clock.pass_(60)
    await look(world)
    await look(world)
    (told,) = world.said(ShareEscalated)
    assert (told.data.from_priority, told.data.to_priority, told.data.priority) == (
        "routine", "emergency", "emergency",
    )  # fmt: skip
    assert "30 s" in told.data.reason
    assert "rule r1" in told.data.reason
    (to_delivery,) = world.said(ManifestPrioritised)
    (part,) = world.parts()
    assert (to_delivery.data.delivery, to_delivery.data.priority, to_delivery.data.lane) == (
        part.delivery, "emergency", part.lane,
    )  # fmt: skip
    share = await world.share()
    assert (share.priority, share.escalated_to, share.state) == ("routine", "emergency", "delivering")
    assert (await world.steps()).count("escalated") == 1
    assert "share_escalated" in [one.data.action for one in world.said(AuditRecorded)]
    (notice,) = await world.rows(tables.notices)
    assert (notice.kind, notice.share, notice.recipient) == ("escalated", share.id, "RT3")

    await world.confirm_all()
    share = await world.share()
    assert (share.state, share.first_image_at, share.last_image_at) == (
        "delivered", world.clock.now, world.clock.now,
    )  # fmt: skip


async def test_what_is_handed_over_after_it_was_raised_is_as_urgent(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED + IN_TIME.replace("quiet_s: 10", "quiet_s: 3600"))
    await came(world, 1)
    world.clock.pass_(31)
    await look(world)
    assert not world.said(ManifestPrioritised), "delivery knows nothing of it yet"
    await world.quiet(3600)
    (part,) = world.parts()
    assert (part.priority, part.lane) == ("emergency", "bulk")


async def test_without_a_rules_own_the_objective_of_its_priority_holds(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED + TO_B)
    await came(world, 1)
    await world.quiet()
    await look(world, Objectives(routine=0))
    assert not world.said(ShareEscalated)
    world.clock.pass_(timedelta(days=1).total_seconds())
    await look(world, Objectives(routine=0))
    assert not world.said(ShareEscalated), "no objective"
    await look(world)
    (told,) = world.said(ShareEscalated)
    assert (told.data.from_priority, told.data.to_priority) == ("routine", "urgent")


async def test_a_late_emergency_cannot_be_raised_and_people_are_told(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED + TO_B.replace("to: [RT3]", "to: [RT3], priority: emergency"))
    await came(world, 1)
    world.clock.pass_(301)
    await look(world)
    (told,) = world.said(ShareEscalated)
    assert (told.data.from_priority, told.data.to_priority) == ("emergency", "emergency")
    assert not world.said(ManifestPrioritised)
    (notice,) = await world.rows(tables.notices)
    assert notice.reason.startswith("an emergency to RT3 is not delivered 5 min after its first instance")


async def test_the_clock_of_a_prior_begins_when_it_is_asked_for(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED)
    earlier = Sending(world, study_uid="1.2.1")
    await world.validated(*earlier.accepted(1), earlier.over(1))
    world.clock.pass_(7 * 86_400)
    world.directories.apply(HOSPITALS + AGREED + TO_B.replace("to: [RT3]}", "to: [RT3], priors: {count: 2}}"))
    await world.validated(*Sending(world, study_uid="1.2.9").accepted(1))
    await world.send_priors()
    await look(world)
    assert {share.study_uid for share in await world.shares()} == {"1.2.1", "1.2.9"}
    assert not world.said(ShareEscalated)


async def test_what_is_delivered_or_has_ended_is_not_late(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED + IN_TIME)
    await came(world, 1)
    await world.quiet(11)
    await world.confirm_all()
    world.clock.pass_(3600)
    await look(world)
    assert not world.said(ShareEscalated)
