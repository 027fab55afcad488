"""What a recipient made of a study comes back: told at the share that brought it there."""

from collections.abc import AsyncIterator

import pytest
from tests.integration.routing_world import HOSPITALS, TO_B, Sending, World, routing_world

from imex.events.shares import ShareResultReturned
from imex.routing.results import Results

BOTH_WAYS = """
agreements:
  - {id: a1, from: RQM, to: RT3, purposes: [direct-care], legal_basis: "UK GDPR 6(1)(e)"}
  - {id: a2, from: RT3, to: RQM, purposes: [direct-care], legal_basis: "UK GDPR 6(1)(e)"}
"""
WITH_A_PACS = HOSPITALS.replace(
    "senders: [{ae_title: RQM_PACS}]",
    "senders: [{ae_title: RQM_PACS}], endpoints: [{name: pacs, type: dicom, ae_title: RQM_PACS,"
    " host: 127.0.0.1, port: 4242}]",
)


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, WITH_A_PACS + BOTH_WAYS + TO_B) as made:
        yield made


async def looked(world: World) -> list[ShareResultReturned]:
    await Results(world.database, world.around).turn()
    await world._collect()
    return world.said(ShareResultReturned)


async def test_a_result_is_told_at_the_share_that_caused_it(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()
    await world.confirm_all()
    share = await world.share()
    assert await looked(world) == []
    report = Sending(world, source="RT3", recipient="RQM", modality="SR")
    await world.validated(*report.accepted(7), report.over(1))
    await world.quiet()
    await world.confirm_all()
    back = (await world.shares())[-1]
    assert (back.source, back.recipient, back.state) == ("RT3", "RQM", "delivered")
    [told] = await looked(world)
    assert (told.data.share, told.data.result, told.data.by) == (share.id, back.id, "RT3")
    assert told.data.instances == 1
    assert (await world.steps(share.id))[-1] == "result_returned"
    assert len(await looked(world)) == 1, "once for what has arrived"


async def test_what_nobody_sent_there_before_is_no_result(world: World) -> None:
    report = Sending(world, source="RT3", recipient="RQM", modality="SR")
    await world.validated(*report.accepted(7), report.over(1))
    await world.quiet()
    await world.confirm_all()
    assert await looked(world) == []
