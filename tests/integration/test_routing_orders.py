"""What people ask of shares."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.routing_world import AGREED, HOSPITALS, TO_B, Sending, World, routing_world

from imex.db.tables import routing as tables
from imex.events import ids
from imex.events.audit import AuditRecorded
from imex.events.commands import ViewReported, ViewReportedData
from imex.events.manifests import ManifestWithdrawn
from imex.events.shares import ShareViewed


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED) as made:
        yield made


async def result(world: World) -> Any:
    """The newest result."""
    return (await world.rows(tables.command_results, tables.command_results.c.at))[-1]


async def sent(world: World) -> None:
    """A complete study that nothing addresses."""
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()


async def test_a_share_by_hand_is_handed_over_at_once(world: World) -> None:
    await sent(world)
    command = world.command("create", priority="urgent", reference="X1")
    await world.commanded(command)
    await world.quiet(1)
    share = await world.share()
    assert (share.state, share.origin, share.command_id) == ("delivering", "command", command.id)
    assert (share.priority, share.reference) == ("urgent", "X1")
    found = await result(world)
    assert (found.command_id, found.outcome, found.share) == (command.id, "done", share.id)
    actor = world.said(AuditRecorded)[0].data.actor
    assert (actor.kind, actor.id, actor.institution) == ("person", "anna", "RQM")
    await world.confirm_all()
    assert (await world.share()).state == "delivered"


async def test_a_share_by_hand_needs_an_agreement(world: World) -> None:
    world.directories.apply(HOSPITALS)
    await sent(world)
    await world.commanded(world.command("create"))
    assert (await world.share()).state == "refused"
    found = await result(world)
    assert "agreement" in found.message


async def test_a_share_by_hand_of_an_unknown_study_is_rejected(world: World) -> None:
    await world.commanded(world.command("create"))
    found = await result(world)
    assert (found.outcome, found.share) == ("rejected", None)


async def test_only_the_source_may_share(world: World) -> None:
    await sent(world)
    await world.commanded(world.command("create", actor_institution="RW6"))
    assert (await result(world)).outcome == "rejected"
    assert await world.shares() == []
    await world.commanded(world.command("create", actor_institution=None))
    assert (await result(world)).outcome == "done"


async def test_asking_for_a_share_that_is_there_is_noted(world: World) -> None:
    await sent(world)
    await world.commanded(world.command("create"))
    again = world.command("create")
    await world.commanded(again)
    found = await result(world)
    assert (found.outcome, found.share) == ("noted", (await world.share()).id)
    assert (await world.steps()).count("requested") == 2


async def test_asking_again_after_a_cancelled_share_opens_an_episode(world: World) -> None:
    await sent(world)
    await world.commanded(world.command("create"))
    await world.quiet(1)
    await world.commanded(world.command("cancel", share=(await world.share()).id, reason="wrong hospital"))
    share = await world.share()
    assert (share.state, share.reason) == ("cancelled", "cancelled: wrong hospital")
    (withdrawn,) = world.said(ManifestWithdrawn)
    assert withdrawn.data.share == share.id
    assert world.partner_words()[-1] == "cancelled"
    await world.commanded(world.command("create"))
    await world.quiet(1)
    assert [(s.episode, s.state) for s in await world.shares()] == [(1, "cancelled"), (2, "delivering")]


async def test_a_delivered_share_can_be_revoked_but_not_cancelled(world: World) -> None:
    await sent(world)
    await world.commanded(world.command("create"))
    await world.quiet(1)
    await world.confirm_all()
    share = (await world.share()).id
    await world.commanded(world.command("cancel", share=share))
    assert (await result(world)).outcome == "rejected"
    await world.commanded(world.command("revoke", share=share))
    assert (await world.share()).state == "revoked"


async def test_an_inbox_that_asks_for_acceptance(world: World) -> None:
    await sent(world)
    await world.commanded(world.command("create", recipient="INB"))
    share = await world.share()
    assert share.state == "requested"
    await world.quiet(1)
    assert not world.parts()
    await world.commanded(world.command("accept", share=share.id, recipient="INB"))
    assert (await result(world)).outcome == "rejected"
    await world.commanded(world.command("accept", share=share.id, recipient="INB", actor_institution="INB"))
    await world.quiet(1)
    assert (await world.share()).state == "delivering"


async def test_an_inbox_may_refuse(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED + TO_B.replace("[RT3]", "[INB]"))
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    share = await world.share()
    await world.commanded(
        world.command("refuse", share=share.id, recipient="INB", actor_institution="INB", reason="not ours")
    )
    share = await world.share()
    assert (share.state, share.reason) == ("refused", "INB refused it: not ours")


async def test_an_inbox_that_never_accepts(world: World) -> None:
    await sent(world)
    await world.commanded(world.command("create", recipient="INB"))
    world.clock.pass_(13 * 86_400)
    await world.sweeper.expire()
    assert (await world.share()).state == "requested"
    world.clock.pass_(2 * 86_400)
    await world.sweeper.expire()
    share = await world.share()
    assert (share.state, share.reason) == ("expired", "INB did not accept it within 14 days")
    assert not world.parts(), "nothing of it ever left"
    await world.commanded(world.command("accept", share=share.id, recipient="INB", actor_institution="INB"))
    assert ((await result(world)).outcome, (await world.share()).state) == ("rejected", "expired")


async def test_a_repeated_command_has_no_second_effect(world: World) -> None:
    await sent(world)
    command = world.command("create")
    await world.commanded(command)
    await world.commanded(command)
    assert len(await world.shares()) == 1
    assert (await world.steps()).count("requested") == 1


async def test_an_accepted_emergency_waits_for_nothing_more(world: World) -> None:
    rule = TO_B.replace("[RT3]}", "[INB], priority: emergency}")
    world.directories.apply(HOSPITALS + AGREED + rule)
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2))
    share = await world.share()
    assert (share.state, world.parts()) == ("requested", [])
    await world.commanded(world.command("accept", share=share.id, recipient="INB", actor_institution="INB"))
    assert [len(part.instances) for part in world.parts()] == [2]
    assert (await world.share()).state == "delivering"


async def test_partners_are_told_of_readers(world: World) -> None:
    await sent(world)
    await world.commanded(world.command("create"))
    await world.quiet(1)
    await world.confirm_all()
    share = await world.share()
    first, theirs, copy = (
        viewed(world),
        viewed(world, actor_institution="RW6"),
        viewed(world, how="downloaded"),
    )
    await world.commanded(first, theirs)
    await world.commanded(first)
    await world.commanded(world.command("revoke", share=share.id), copy)
    told = world.said(ShareViewed)
    assert [(one.data.by, one.data.how, one.data.state) for one in told] == [
        ("RT3", "opened", "delivered"),
        ("RT3", "downloaded", "revoked"),
    ]
    assert [step for step in await world.steps() if step in {"viewed", "revoked"}] == [
        "viewed", "revoked", "viewed"
    ]  # fmt: skip
    numbers = [event.data.sequence for event in world.published if event.type.startswith("imex.share.")]
    assert numbers == list(range(1, len(numbers) + 1))


def viewed(world: World, **more: Any) -> ViewReported:
    share = ids.share_id("RQM", "1.2.3", "RT3", "direct-care", 1)
    data = {
        "source": "RQM", "study_uid": "1.2.3", "share": share, "recipient": "RT3", "how": "opened",
        "actor": "ben", "actor_institution": "RT3", **more,
    }  # fmt: skip
    return ViewReported.of(
        id=uuid4(), subject="share", time=world.clock.now, data=ViewReportedData.model_validate(data)
    )
