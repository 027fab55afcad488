"""When studies close: associations, quiet times, backlogs; and the trace that ends with them."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.integration.routing_world import (
    AGREED,
    GRACE_S,
    HOSPITALS,
    QUIET_S,
    TO_B,
    TOPIC,
    Sending,
    World,
    routing_world,
)

from imex.db.tables import routing as tables
from imex.events import ids


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


async def test_each_instance_moves_the_deadline(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1))
    await world.quiet(QUIET_S - 10)
    await world.validated(*sending.accepted(2), sending.over(2))
    await world.quiet(QUIET_S - 10)
    assert (await world.share()).state == "collecting"
    await world.quiet(11)
    assert (await world.share()).state == "delivering"


async def test_a_study_stays_open_while_an_association_is(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1))
    await world.quiet(QUIET_S + 5)
    assert (await world.share()).state == "collecting"
    await world.validated(sending.over(1))
    await world.quiet(1)
    assert (await world.share()).state == "delivering"


async def test_an_association_whose_end_is_never_heard_of_keeps_it_for_the_grace(world: World) -> None:
    await world.validated(*Sending(world).accepted(1))
    await world.quiet(GRACE_S - 1)
    assert (await world.share()).state == "collecting"
    await world.quiet(2)
    assert (await world.share()).state == "delivering"


async def test_a_backlog_at_validation_cannot_close_a_half_judged_study(world: World) -> None:
    sending, began = Sending(world), world.clock.now
    await world.validated(*sending.accepted(1))
    for known in (None, began + timedelta(seconds=GRACE_S - 1)):
        world.judged[TOPIC] = known
        await world.quiet(GRACE_S * 10)
        assert (await world.share()).state == "collecting"
    world.judged[TOPIC] = began + timedelta(seconds=GRACE_S)
    await world.quiet(2)
    assert (await world.share()).state == "delivering"


async def test_two_associations_in_bursts_are_one_share(world: World) -> None:
    first, second = Sending(world), Sending(world)
    await world.validated(*first.accepted(1), first.over(1))
    await world.quiet(QUIET_S / 2)
    await world.validated(*second.accepted(2), second.over(1))
    await world.quiet()
    assert (await world.share()).state == "delivering"
    assert len(world.parts()[0].instances) == 2


async def test_a_backlog_cannot_close_a_half_read_study(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    world.reader.through = world.clock.now + timedelta(seconds=1)
    await world.quiet(QUIET_S * 10)
    assert (await world.share()).state == "collecting"
    world.reader.through = None
    await world.close()
    assert (await world.share()).state == "delivering"


async def test_the_quiet_time_of_the_rule_holds(world: World) -> None:
    rules = TO_B.replace("to: [RT3]", "to: [RT3], quiet_s: 5") + (
        "  - {id: r2, match: {source: RQM}, to: [RW6], quiet_s: 120}\n"
    )
    world.directories.apply(HOSPITALS + AGREED + rules)
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet(6)
    states = {share.recipient: share.state for share in await world.shares()}
    assert states == {"RT3": "delivering", "RW6": "collecting"}
    await world.quiet(115)
    assert {share.state for share in await world.shares()} == {"delivering"}


async def test_a_study_that_cannot_be_closed_holds_up_no_other(world: World) -> None:
    for uid in ("1.2.3", "1.2.4"):
        sending = Sending(world, study_uid=uid)
        await world.validated(*sending.accepted(1), sending.over(1))
    async with world.database.unit() as unit:
        await unit.connection.execute(
            tables.instances.update().where(tables.instances.c.study_uid == "1.2.3").values(digest="")
        )
        await unit.connection.exec_driver_sql(
            "ALTER TABLE routing.share_instances ADD CONSTRAINT digests CHECK (digest <> '')"
        )
    await world.quiet()
    states = {share.study_uid: share.state for share in await world.shares()}
    assert states == {"1.2.3": "collecting", "1.2.4": "delivering"}
    stuck = {study.study_uid: study.stuck for study in await world.rows(tables.studies)}
    assert stuck["1.2.3"] is not None
    assert stuck["1.2.4"] is None


async def test_the_root_of_the_trace_is_exported_once_when_the_passage_has_ended(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.sweeper.export_roots()
    assert "study" not in [span.name for span in world.spans.get_finished_spans()]
    await world.confirm_all()
    await world.sweeper.export_roots()
    await world.sweeper.export_roots()
    spans = {span.name: span for span in world.spans.get_finished_spans()}
    assert [span.name for span in world.spans.get_finished_spans()].count("study") == 1
    root = spans["study"].context
    assert root is not None
    assert root.span_id == ids.root_span_id("RQM", "1.2.3")
    for name in ("route", "close study"):
        parent = spans[name].parent
        assert parent is not None
        assert parent.span_id == root.span_id
