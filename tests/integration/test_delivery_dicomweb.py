"""Deliveries by STOW-RS to a DICOMweb server: requests, answers, tokens, and what cannot be known."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from tests.integration.delivery_world import Asking, Passage, World, delivery_world, uids, until

from imex.delivery.payloads import ReadAhead
from imex.dimse.statuses import Status
from imex.events.deliveries import DeliveryProgressed
from imex.local.ports import free_ports
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.stow import StowServer, answer, stow_server


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def study(slices: int) -> SyntheticStudy:
    return synthetic_study(slices, size=32)


def to(world: World, server: StowServer, recipient: str = "RT3", **facts: object) -> None:
    world.endpoint(recipient, 0, type="dicomweb", url=server.base, **facts)


def of(sent: SyntheticStudy) -> Passage:
    return Passage("RT3", sent.study_uid)


async def test_a_study_goes_in_requests_of_several_and_has_its_receipt(world: World) -> None:
    sent = study(30)
    passage = of(sent)
    async with stow_server(StowServer()) as server, world.working():
        to(world, server, request_instances=8)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert server.stored == sent.digests
    assert max(len(one) for one in server.requests) == 8
    assert sum(len(one) for one in server.requests) == 30
    assert server.most_running <= 2
    assert {source for _, source in server.metas} == {"IMEX"}
    [receipt] = await world.receipts(passage)
    assert receipt.document["complete"] is True
    assert receipt.document["destination"]["ae_title"] == server.base
    assert {one["confirmed_by"] for one in receipt.document["instances"]} == {"answer"}


async def test_requests_hold_no_more_bytes_than_they_may(world: World) -> None:
    sent = synthetic_study(6, size=600)  # 720 kB each
    passage = of(sent)
    async with stow_server(StowServer()) as server, world.working():
        to(world, server, request_mb=2)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert server.stored == sent.digests
    assert max(len(one) for one in server.requests) == 2


async def test_what_is_not_held_whole_goes_alone_and_streamed(world: World) -> None:
    sent = synthetic_study(3, size=300)
    passage = of(sent)
    async with stow_server(StowServer()) as server, world.working(read_ahead=ReadAhead(whole_bytes=1 << 16)):
        to(world, server)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert server.stored == sent.digests
    assert [len(one) for one in server.requests] == [1, 1, 1]


async def test_each_instance_has_its_own_outcome(world: World) -> None:
    sent = study(5)
    passage = of(sent)
    bad, warned, *_ = (one.sop_instance_uid for one in sent.instances)

    async def answering(_: StowServer, __: web.Request, uids: list[str]) -> web.Response:
        stored = {uid: 0xB006 if uid == warned else 0 for uid in uids if uid != bad}
        return answer(stored, {uid: 0xA900 for uid in uids if uid == bad})

    async with stow_server(StowServer(answering)) as server, world.working():
        to(world, server)
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "partial")
    assert (
        "1 not delivered: 1 × refused by the destination: A900 data set does not match SOP class"
        in row.reason
    )
    found = await world.instances(passage)
    assert (found[bad].state, found[bad].status) == ("failed", "0xA900")
    assert found[warned].reason == "stored with a warning: B006 elements discarded"
    events = await world.events(DeliveryProgressed)
    assert sum(len(event.data.outcomes) for event in events) == 5


async def test_a_conflict_without_a_list_is_found_out_one_by_one(world: World) -> None:
    sent = study(9)
    passage = of(sent)
    bad = sent.instances[4].sop_instance_uid

    async def answering(_: StowServer, __: web.Request, uids: list[str]) -> web.Response | None:
        return web.Response(status=409) if bad in uids else None

    async with stow_server(StowServer(answering)) as server, world.working():
        to(world, server)
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "partial")
    assert "409 conflict" in row.reason
    assert (await world.instances(passage))[bad].state == "failed"
    assert row.attempts == 1


async def test_requests_become_smaller_where_they_are_too_large(world: World) -> None:
    sent = study(20)
    passage = of(sent)
    async with stow_server(StowServer(most_instances=4)) as server, world.working():
        to(world, server)
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "delivered")
    assert server.stored == sent.digests
    assert row.attempts == 1


async def test_a_server_without_chunks_gets_a_length(world: World) -> None:
    def before(request: web.Request) -> web.Response | None:
        return None if "Content-Length" in request.headers else web.Response(status=411)

    sent = study(3)
    passage = of(sent)
    async with stow_server(StowServer(before=before)) as server, world.working():
        to(world, server)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert server.stored == sent.digests


async def test_a_server_that_is_busy_is_left_alone_for_as_long_as_it_says(world: World) -> None:
    turns = iter([True])

    def before(_: web.Request) -> web.Response | None:
        return web.Response(status=503, headers={"Retry-After": "300"}) if next(turns, False) else None

    sent = study(3)
    passage = of(sent)
    async with stow_server(StowServer(before=before)) as server, world.working():
        to(world, server)
        await world.issue(passage, sent.instances)
        row = await world.until_failing(passage)
        assert "503 service unavailable" in row.reason
        assert 250 < (row.next_attempt_at - datetime.now(UTC)).total_seconds() < 310
        assert server.requests == []
        await world.hand_in(world.command(passage, "retry"))
        await world.until_outcome(passage, "delivered")
    assert {one.attempts for one in (await world.instances(passage)).values()} == {0}


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (lambda: web.Response(status=403), "refuses access: 403 forbidden"),
        (lambda: web.Response(status=404), "there is no STOW-RS at this URL"),
        (lambda: web.Response(status=307, headers={"Location": "http://127.0.0.2/"}), "redirects (307)"),
        (
            lambda: web.Response(text="<html>sign in</html>", content_type="text/html"),
            "something else than a STOW-RS response",
        ),
        (lambda: web.Response(status=500), "500 server error"),
    ],
)
async def test_what_is_no_answer_to_a_study_confirms_nothing(world: World, response, words: str) -> None:  # type: ignore[no-untyped-def]
    sent = study(2)
    passage = of(sent)
    async with stow_server(StowServer(before=lambda _: response())) as server, world.working():
        to(world, server)
        await world.issue(passage, sent.instances)
        row = await world.until_failing(passage)
    assert words in row.reason
    assert {one.state for one in (await world.instances(passage)).values()} == {"waiting"}


async def test_nobody_answers(world: World) -> None:
    [port] = free_ports(1)
    passage = Passage("RT3")
    async with world.working():
        to(world, StowServer(base=f"http://127.0.0.1:{port}/dicom-web"))
        await world.issue(passage, study(1).instances)
        row = await world.until_failing(passage)
    assert row.reason == f"127.0.0.1:{port}: connection refused"


async def test_an_answer_that_names_nobody_is_looked_into(world: World) -> None:
    async def answering(_: StowServer, __: web.Request, ___: list[str]) -> web.Response:
        return web.Response(status=200)

    sent = study(4)
    passage = of(sent)
    async with stow_server(StowServer(answering)) as server, world.working():
        to(world, server)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert server.searches
    [receipt] = await world.receipts(passage)
    assert {one["confirmed_by"] for one in receipt.document["instances"]} == {"query"}


async def test_a_delivery_that_is_to_be_queried_is_delivered_when_the_query_finds_it(world: World) -> None:
    sent = study(12)
    passage = of(sent)
    async with stow_server(StowServer(page=5)) as server, world.working():
        to(world, server, confirm="query")
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert server.searches == 3
    [receipt] = await world.receipts(passage)
    assert {one["confirmed_by"] for one in receipt.document["instances"]} == {"query"}


async def test_who_takes_and_loses_is_sent_to_again_and_never_believed(world: World) -> None:
    sent = study(3)
    passage = of(sent)
    async with stow_server(StowServer(keeps=False)) as server, world.working():
        to(world, server, confirm="query")
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "failed", 30)
    assert "given up: taken by the destination 3 times, and a query does not find it" in row.reason
    assert sum(len(one) for one in server.requests) == 9


async def test_what_shows_late_is_not_sent_again(world: World) -> None:
    sent = study(3)
    passage = of(sent)
    async with stow_server(StowServer(hides=True)) as server, world.working(asking=Asking(patience_s=60)):
        to(world, server, confirm="query")
        await world.issue(passage, sent.instances)
        row = await world.until_failing(passage)
        assert "3 of 3 instances do not show in a query yet" in row.reason
        server.hides = False
        await world.until_outcome(passage, "delivered")
    assert sum(len(one) for one in server.requests) == 3


async def lost(server: StowServer, request: web.Request, _: list[str]) -> None:
    """The connection dies when everything has come."""
    if len(server.requests) == 1:
        assert request.transport is not None
        request.transport.abort()
        await asyncio.sleep(0)


async def test_an_answer_that_is_lost_is_asked_for_and_only_what_lacks_is_sent(world: World) -> None:
    sent = study(6)
    passage = of(sent)
    missing = sent.instances[2].sop_instance_uid

    async def answering(server: StowServer, request: web.Request, uids: list[str]) -> None:
        if len(server.requests) == 1:
            server.studies.pop(missing, None)
        await lost(server, request, uids)

    async with stow_server(StowServer(answering)) as server, world.working():
        to(world, server, confirm="query", accepts={"max_associations": 1})
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert [sorted(one) for one in server.requests] == [sorted(uids(sent.instances)), [missing]]


async def test_an_answer_that_is_lost_is_repeated_where_nobody_can_be_asked(world: World) -> None:
    sent = study(4)
    passage = of(sent)
    async with stow_server(StowServer(lost)) as server, world.working():
        to(world, server, accepts={"max_associations": 1})
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "delivered")
    assert server.searches == 0
    assert sum(len(one) for one in server.requests) == 8 or len(server.requests) >= 2
    assert row.attempts >= 2
    assert server.stored == sent.digests


async def test_tokens_are_asked_for_once_and_renewed_where_they_are_refused(world: World) -> None:
    sent = study(12)
    passage = of(sent)
    server = StowServer()
    async with stow_server(server), world.working(asking=Asking(secrets={"pacs-b": "s3cret"})):
        oauth2 = {
            "token_url": server.base.replace("/dicom-web", "/token"),
            "client_id": "imex",
            "secret": "pacs-b",
            "scope": "store",
        }
        to(world, server, oauth2=oauth2, request_instances=4, accepts={"max_associations": 1})
        server.tokens = {"none"}

        async def answering(server: StowServer, _: web.Request, __: list[str]) -> None:
            if len(server.requests) == 1:
                server.tokens = {"none"}  # it is withdrawn before it expires

        server.answering = answering
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "delivered")
    assert row.attempts == 1
    assert [one["scope"] for one in server.tokens_given] == ["store", "store"]
    assert {one["authorization"][:6] for one in server.tokens_given} == {"Basic "}
    assert server.stored == sent.digests


async def test_a_secret_that_is_missing_is_told_by_its_name(world: World) -> None:
    passage = Passage("RT3")
    async with stow_server(StowServer()) as server, world.working():
        oauth2 = {"token_url": server.base, "client_id": "imex", "secret": "pacs-b"}
        to(world, server, oauth2=oauth2)
        await world.issue(passage, study(1).instances)
        row = await world.until_failing(passage)
    assert "delivery has no secret named pacs-b" in row.reason


async def test_out_of_resources_is_waited_out(world: World) -> None:
    sent = study(3)
    passage = of(sent)

    async def answering(server: StowServer, _: web.Request, uids: list[str]) -> web.Response | None:
        if len(server.requests) > 1:
            return None
        return answer(failed=dict.fromkeys(uids, Status.OUT_OF_RESOURCES), status=409)

    async with stow_server(StowServer(answering)) as server, world.working():
        to(world, server)
        await world.issue(passage, sent.instances)
        row = await until(lambda: world.row(passage), lambda row: row.outcome == "delivered")
    assert row.attempts == 2


async def test_others_do_not_ask_while_a_server_wants_to_be_left_alone(world: World) -> None:
    asked = 0

    def before(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=429, headers={"Retry-After": "600"})

    first, second = study(1), study(1)
    async with stow_server(StowServer(before=before)) as server, world.working():
        to(world, server)
        await world.issue(of(first), first.instances)
        await world.until_failing(of(first))
        await world.issue(of(second), second.instances)
        row = await world.until_failing(of(second))
    assert "429 too many requests" in row.reason
    assert (row.next_attempt_at - datetime.now(UTC)).total_seconds() > 500
    assert asked == 1


async def test_what_was_sent_before_a_crash_is_asked_for_and_not_sent_again(world: World) -> None:
    sent = study(3)
    passage = of(sent)
    server = StowServer()
    async with stow_server(server):
        to(world, server, confirm="query")
        async with world.working(asking=Asking(patience_s=60)):
            server.hides = True
            await world.issue(passage, sent.instances)
            await world.until_failing(passage)
        server.hides = False
        async with world.working("two", asking=Asking(patience_s=60)):
            await world.until_outcome(passage, "delivered")
    assert sum(len(one) for one in server.requests) == 3


async def test_what_leaves_de_identified_is_asked_for_by_its_new_uids(world: World) -> None:
    sent = study(3)
    passage = Passage("RT3", sent.study_uid, agreement="research")
    async with stow_server(StowServer()) as server, world.working():
        to(world, server, confirm="query")
        world.agreements(
            {
                "id": "research",
                "from": ["RQM"],
                "to": ["RT3"],
                "purposes": ["research"],
                "deidentify": {"project": "lungs", "burned_in": "release"},
            }
        )
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    assert len(server.stored) == 3
    assert not server.stored.keys() & sent.digests.keys()
    assert sent.study_uid not in server.studies.values()
    [receipt] = await world.receipts(passage)
    assert {one["confirmed_by"] for one in receipt.document["instances"]} == {"query"}
    told = {one["delivered_digest"] for one in receipt.document["instances"]}
    assert told == set(server.stored.values())
