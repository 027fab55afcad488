"""What one institution asks another for, and what comes of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.routing_world import (
    AGREED,
    HOSPITALS,
    NHS_NUMBER,
    Sending,
    World,
    opened_person,
    opened_wanted,
    routing_world,
)

from imex.db.tables import routing as tables
from imex.events.commands import RequestCommanded, RequestCommandedData
from imex.events.sealed import Sealed, SealedWanted
from imex.routing.orders import Orders

AUTOMATIC = AGREED.replace('basis: "UK GDPR 6(1)(e)"', 'basis: "UK GDPR 6(1)(e)", requests: automatic')


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED) as made:
        yield made


async def studies(world: World, *uids: str, modality: str = "CT") -> None:
    for uid in uids:
        sending = Sending(world, study_uid=uid, modality=modality)
        await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()


async def said(world: World, command: Any, request: UUID, **more: Any) -> Any:
    wanted = more.pop("wanted", None)
    facts = {"requester": "RT3", "holder": "RQM", "actor": "anna", "actor_institution": "RT3", **more}
    if wanted is not None:
        facts["wanted"] = Sealed(key_id="k", nonce="", ciphertext=SealedWanted(**wanted).model_dump_json())
    data = RequestCommandedData(command=command, request=request, **facts)
    event = RequestCommanded.of(id=uuid4(), subject="request", time=world.clock.now, data=data)
    world.clock.pass_(0.001)
    await world.commanded(event)
    results = await world.rows(tables.command_results, tables.command_results.c.at)
    return next(one for one in results if one.command_id == event.id)


async def row(world: World) -> Any:
    (found,) = await world.rows(tables.requests)
    return found


PERSON = {"issuer": "NHS", "patient_id": f"{NHS_NUMBER[:3]} {NHS_NUMBER[3:6]} {NHS_NUMBER[6:]}"}


async def test_what_the_holders_people_grant_becomes_shares(world: World) -> None:
    await studies(world, "1.2.3", "1.2.4")
    request = uuid4()
    await said(world, "make", request, wanted=PERSON, reason="clinic on Monday")
    assert (await row(world)).state == "open"
    assert await world.shares() == []
    result = await said(world, "grant", request, actor_institution="RQM", reason="as asked")
    assert result.outcome == "done"
    shares = await world.shares()
    assert {(one.recipient, one.study_uid, one.agreement) for one in shares} == {
        ("RT3", "1.2.3", "a1"),
        ("RT3", "1.2.4", "a1"),
    }
    found = await row(world)
    assert (found.state, found.wanted) == ("granted", None)
    assert {one.share for one in await world.rows(tables.request_shares)} == {one.id for one in shares}
    assert "request_granted" in await world.steps(shares[0].id)
    await world.quiet(1)
    assert {one.state for one in await world.shares()} == {"delivering"}


async def test_an_agreement_may_grant_by_itself(empty_database_url: str) -> None:
    async with routing_world(empty_database_url, HOSPITALS + AUTOMATIC) as world:
        await studies(world, "1.2.3")
        await said(world, "make", uuid4(), wanted={"study_uid": "1.2.3"}, reason="stroke")
        assert (await row(world)).state == "granted"
        assert (await world.share()).recipient == "RT3"


async def test_without_an_agreement_it_is_refused_and_nobody_is_kept(world: World) -> None:
    await studies(world, "1.2.3")
    world.directories.apply(HOSPITALS)
    await said(world, "make", uuid4(), wanted=PERSON, reason="x")
    found = await row(world)
    assert (found.state, "agreement" in found.answer, found.wanted) == ("refused", True, None)
    assert await world.shares() == []


async def test_only_the_holder_decides_and_only_the_requester_withdraws(world: World) -> None:
    await studies(world, "1.2.3")
    request = uuid4()
    await said(world, "make", request, wanted=PERSON, reason="x")
    for command in ("grant", "refuse"):
        assert (await said(world, command, request)).outcome == "rejected"
    assert (await said(world, "withdraw", request, actor_institution="RQM")).outcome == "rejected"
    assert (await row(world)).state == "open"
    assert (await said(world, "withdraw", request)).outcome == "done"
    late = await said(world, "grant", request, actor_institution="RQM")
    assert (late.outcome, late.message) == ("rejected", "the request is withdrawn")
    assert await world.shares() == []


@pytest.mark.parametrize(
    ("wanted", "more", "found"),
    [
        ({"accession": "ACC1"}, {}, 2),
        ({"accession": "ACC9"}, {}, 0),
        ({"issuer": "NHS", "patient_id": "9990000018"}, {}, 0),
        ({"issuer": "RQM", "patient_id": NHS_NUMBER}, {}, 0),
        (PERSON, {"modality": "MR"}, 1),
        (PERSON, {"studied_from": "2026-01-01"}, 0),
        ({"study_uid": "1.2.3"}, {}, 1),
    ],
)
async def test_only_what_is_asked_for_is_shared(
    world: World, wanted: dict[str, str], more: dict[str, str], found: int
) -> None:
    await studies(world, "1.2.3")
    await studies(world, "1.2.4", modality="MR")
    request = uuid4()
    await said(world, "make", request, wanted=wanted, reason="x", **more)
    result = await said(world, "grant", request, actor_institution="RQM")
    assert len(await world.shares()) == found
    assert (await row(world)).state == ("granted" if found else "open")
    assert result.outcome == ("done" if found else "rejected")


async def test_nobody_is_asked_for_where_everything_is_de_identified(empty_database_url: str) -> None:
    hidden = AGREED.replace('basis: "UK GDPR 6(1)(e)"', 'basis: "UK GDPR 6(1)(e)", deidentify: {project: p1}')
    async with routing_world(empty_database_url, HOSPITALS + hidden) as world:
        await studies(world, "1.2.3")
        await said(world, "make", uuid4(), wanted=PERSON, reason="x")
        found = await row(world)
        assert (found.state, "de-identifies" in found.answer) == ("refused", True)


async def test_what_may_not_be_shared_after_all_is_not_granted(world: World) -> None:
    await studies(world, "1.2.3")
    await world.marked(sensitive=True)
    request = uuid4()
    await said(world, "make", request, wanted=PERSON, reason="x")
    result = await said(world, "grant", request, actor_institution="RQM")
    assert (result.outcome, (await row(world)).state) == ("rejected", "open")
    assert await world.rows(tables.request_shares) == []


async def test_nobody_asks_in_anothers_name(world: World) -> None:
    result = await said(world, "make", uuid4(), wanted=PERSON, reason="x", actor_institution="RW6")
    assert result.outcome == "rejected"
    assert await world.rows(tables.requests) == []


async def test_what_nobody_decides_about_ends_and_names_nobody_any_more(world: World) -> None:
    await said(world, "make", uuid4(), wanted=PERSON, reason="x")
    world.clock.pass_(15 * 86_400)
    await world.sweeper.expire()
    found = await row(world)
    assert (found.state, found.wanted) == ("expired", None)


def limited(world: World, **limits: int) -> None:
    world.orders = Orders(replace(world.around, **limits), opened_person, opened_wanted)  # type: ignore[arg-type]


async def test_so_many_requests_to_one_holder_may_be_open(world: World) -> None:
    limited(world, open_requests=2)
    first, second = uuid4(), uuid4()
    for request in (first, second):
        assert (await said(world, "make", request, wanted=PERSON, reason="x")).outcome == "done"
    third = await said(world, "make", uuid4(), wanted=PERSON, reason="x")
    assert (third.outcome, "2 requests of RT3 to RQM are open" in third.message) == ("rejected", True)
    assert len(await world.rows(tables.requests)) == 2
    other_way = {"requester": "RQM", "holder": "RT3", "actor_institution": "RQM"}
    another = await said(world, "make", uuid4(), **other_way, reason="x")
    assert another.outcome == "done", "who asks somebody else is not held up"
    await said(world, "withdraw", first)
    assert (await said(world, "make", uuid4(), wanted=PERSON, reason="x")).outcome == "done"


async def test_so_often_may_one_holder_be_asked_within_a_day(world: World) -> None:
    limited(world, requests_a_day=2)
    for _ in range(2):
        request = uuid4()
        await said(world, "make", request, wanted=PERSON, reason="x")
        await said(world, "withdraw", request)
    more = await said(world, "make", uuid4(), wanted=PERSON, reason="x")
    assert (more.outcome, "2 times within a day" in more.message) == ("rejected", True)
    world.clock.pass_(86_400)
    assert (await said(world, "make", uuid4(), wanted=PERSON, reason="x")).outcome == "done"


async def test_requests_that_are_made_at_once_are_counted_one_after_another(world: World) -> None:
    limited(world, open_requests=2)
    answers = await asyncio.gather(
        *(said(world, "make", uuid4(), wanted=PERSON, reason="x") for _ in range(6))
    )
    assert sorted(one.outcome for one in answers) == ["done"] * 2 + ["rejected"] * 4
