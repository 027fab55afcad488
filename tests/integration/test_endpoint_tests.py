"""Tests of endpoints, carried out against simulated PACSs, with their rows in a real PostgreSQL."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Row, func, select, update
from tests.integration.delivery_world import World, delivery_world, storescp, until

from imex.db.tables.delivery import endpoint_tests
from imex.delivery.endpoint_tests import dicom, web
from imex.delivery.endpoint_tests.network import TlsFiles
from imex.delivery.endpoint_tests.planning import Means
from imex.delivery.endpoint_tests.rows import KEPT, Rows, ask
from imex.delivery.endpoint_tests.tester import EndpointTester
from imex.events.commands import EndpointCommanded, EndpointCommandedData
from imex.local.certificates import Certificates
from imex.local.ports import free_ports
from imex.simulation.options import Options
from imex.simulation.pacs import simulated_pacs
from imex.testing.peers import Orthanc

SIMULATED = Options(ae_title="RT3_PACS", delay_s=5)


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def command(send: bool = False, recipient: str = "RT3") -> EndpointCommanded:
    return EndpointCommanded.of(
        id=uuid4(),
        subject=f"endpoint/{recipient}/pacs",
        data=EndpointCommandedData(
            command="test", test=uuid4(), recipient=recipient, endpoint="pacs", send=send, actor="sam"
        ),
    )


async def asked(world: World, *, send: bool = False, recipient: str = "RT3") -> UUID:
    event = command(send, recipient)
    async with world.database.unit() as unit:
        await ask(unit, event)
    return event.data.test


async def row(world: World, test: UUID) -> Row[Any]:
    async with world.database.unit() as unit:
        found = await unit.connection.execute(select(endpoint_tests).where(endpoint_tests.c.id == test))
        return found.one()


@asynccontextmanager
async def at_work(world: World, tls: TlsFiles | None = None, **more: Any) -> AsyncIterator[EndpointTester]:
    means = Means("IMEX", tls or TlsFiles())
    tester = EndpointTester(Rows(world.database, "one"), lambda: world.directory, means, **more)
    await tester.start()
    try:
        yield tester
    finally:
        await tester.stop()


async def tested(world: World, *, send: bool = False, tls: TlsFiles | None = None) -> tuple[Row[Any], Any]:
    """The row of a test that is done, and its steps by name."""
    async with at_work(world, tls):
        test = await asked(world, send=send)
        done = await until(lambda: row(world, test), lambda one: one.state == "done", 40)
    return done, {one["name"]: one for one in done.steps}


async def test_an_endpoint_that_works_passes_every_step(world: World) -> None:
    async with simulated_pacs(options=SIMULATED) as pacs:
        world.endpoint("RT3", pacs.port)
        done, steps = await tested(world, send=True)
        held = pacs.shelf.held
    assert (done.outcome, done.reason) == ("passed", "everything that was tried works")
    assert {name: one["result"] for name, one in steps.items()} == {
        "directory entry": "ok",
        "name resolution": "ok",
        "connection": "ok",
        "TLS": "skipped",
        "certificate": "skipped",
        "association": "ok",
        "echo": "ok",
        "accepted": "ok",
        "test study": "ok",
        "found again": "ok",
    }
    assert steps["echo"]["facts"]["echo_ms"] > 0
    assert steps["test study"]["facts"]["megabytes_per_s"] > 0
    table = steps["accepted"]["facts"]["accepted"]
    assert any("CT Image Storage" in one["sop_class"] and len(one["transfer_syntaxes"]) == 8 for one in table)
    assert len(held) == 3
    assert {str(one.PatientID) for one in pacs.shelf.visible()} == {"IMEX-CONNECTION-TEST"}


async def test_nothing_is_sent_unless_it_is_asked_for(world: World) -> None:
    async with simulated_pacs(options=SIMULATED) as pacs:
        world.endpoint("RT3", pacs.port)
        done, steps = await tested(world)
    assert done.outcome == "passed"
    assert "test study" not in steps
    assert pacs.shelf.tallies == {}


@pytest.mark.parametrize(
    ("failure", "step", "words", "advice"),
    [
        ("reject-permanent", "association", "called AE title not recognised", "correct it in the directory"),
        ("reject-limit", "association", "local limit exceeded", "max_associations"),
        ("refuse-class", "accepted", "no storage SOP class is accepted", "Switch storage on"),
        ("status-a700", "test study", "A700 out of resources", "node's log"),
        ("close-after-data", "test study", "C-STORE: ", "node's log"),
        ("abort-after-data", "test study", "association aborted by the peer", "node's log"),
        ("lose", "found again", "0 of 3 images are found", "Look where the node files"),
        ("wrong-identifiers", "found again", "0 of 3 images are found", "Look where the node files"),
    ],
)
async def test_each_failure_is_told_with_what_to_do(  # noqa: PLR0917  pytest's
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    failure: str,
    step: str,
    words: str,
    advice: str,
) -> None:
    monkeypatch.setattr(dicom, "FOUND_WITHIN_S", 0.2)
    async with simulated_pacs(failure, options=SIMULATED) as pacs:
        world.endpoint("RT3", pacs.port)
        done, steps = await tested(world, send=True)
    assert done.outcome == "failed"
    assert done.reason.startswith(f"{step}: ")
    assert steps[step]["result"] == "failed"
    assert words in steps[step]["words"]
    assert advice in steps[step]["advice"]


async def test_a_node_without_queries_is_a_warning(world: World) -> None:
    async with simulated_pacs("find-none", options=SIMULATED) as pacs:
        world.endpoint("RT3", pacs.port)
        done, steps = await tested(world, send=True)
    assert done.outcome == "passed"
    assert steps["found again"]["result"] == "warning"


async def test_orthanc_passes_as_a_node_and_as_a_dicomweb_server(world: World, tmp_path: Path) -> None:
    port, http = free_ports(2)
    node = Orthanc("RT3_PACS", port, http, tmp_path, {"imex": ("IMEX", 11112)}, dicomweb=True)
    await asyncio.to_thread(node.start)
    try:
        world.endpoint("RT3", port, query=True)
        done, steps = await tested(world, send=True)
        assert done.outcome == "passed", done.reason
        assert "C-MOVE accepted" in steps["queries"]["words"]
        assert "OFFIS_DCMTK" in steps["association"]["words"]  # which Orthanc is built with
        assert steps["found again"]["result"] == "ok", steps["found again"]
        world.endpoint("RT3", 0, type="dicomweb", url=node.dicomweb.rstrip("/"))
        done, steps = await tested(world, send=True)
        assert done.reason == "everything that was tried works"
        assert steps["found again"]["result"] == "ok"
    finally:
        await asyncio.to_thread(node.stop)


async def test_dcmtks_storescp_passes_and_cannot_be_queried(world: World, tmp_path: Path) -> None:
    async with storescp(tmp_path) as port:
        world.endpoint("RT3", port)
        done, steps = await tested(world, send=True)
        world.endpoint("RT3", port, query=True)
        refused, _ = await tested(world)
    assert done.outcome == "passed", done.reason
    assert steps["found again"]["result"] == "warning"
    assert "queries" not in steps
    assert (refused.outcome, "takes none of what it is asked for" in refused.reason) == ("failed", True)


WEB = Options(type="dicomweb")


async def test_a_dicomweb_server_is_searched_stored_at_and_searched_again(world: World) -> None:
    async with simulated_pacs(options=WEB) as pacs:
        world.endpoint("RT3", 0, type="dicomweb", url=pacs.url)
        done, steps = await tested(world, send=True)
    assert (done.outcome, done.reason) == ("passed", "everything that was tried works")
    assert [(one["name"], one["result"]) for one in done.steps[-4:]] == [
        ("access token", "skipped"),
        ("search", "ok"),
        ("test study", "ok"),
        ("found again", "ok"),
    ]
    assert steps["test study"]["facts"]["megabytes_per_s"] > 0
    assert len(pacs.shelf.held) == 3


@pytest.mark.parametrize(
    ("failure", "step", "result", "words", "advice"),
    [
        ("conflict", "test study", "failed", "3 failed: A900", "server's log"),
        ("too-large", "test study", "failed", "STOW-RS is answered 413", "server's log"),
        ("unauthorised", "test study", "failed", "STOW-RS is answered 401", "server's log"),
        ("empty-answer", "test study", "warning", "without naming what was stored", "confirm: query"),
        ("close-after-data", "test study", "failed", "closed the connection", "server's log"),
        ("lose", "found again", "failed", "0 of 3 images are found", "Look where the node files"),
        ("find-none", "search", "warning", "no QIDO-RS at this URL", "Check the URL"),
    ],
)
async def test_each_failure_of_a_dicomweb_server_is_told(  # noqa: PLR0917  pytest's
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    failure: str,
    step: str,
    result: str,
    words: str,
    advice: str,
) -> None:
    monkeypatch.setattr(web, "FOUND_WITHIN_S", 0.2)
    async with simulated_pacs(failure, options=WEB) as pacs:
        world.endpoint("RT3", 0, type="dicomweb", url=pacs.url)
        done, steps = await tested(world, send=True)
    assert done.outcome == ("failed" if result == "failed" else "passed")
    assert steps[step]["result"] == result
    assert words in steps[step]["words"]
    assert advice in steps[step]["advice"]


async def test_a_token_that_cannot_be_had_is_told_before_the_server_is_asked(world: World) -> None:
    async with simulated_pacs(options=WEB) as pacs:
        oauth2 = {"token_url": f"{pacs.url}/token", "client_id": "imex", "secret": "rt3"}
        world.endpoint("RT3", 0, type="dicomweb", url=pacs.url, oauth2=oauth2)
        done, steps = await tested(world, send=True)
    assert done.reason.startswith("access token: ")
    assert "delivery holds the secret" in steps["access token"]["advice"]
    assert steps["search"]["result"] == "skipped"
    assert "client_id" not in str(steps["directory entry"]["facts"])
    assert pacs.shelf.tallies == {}


async def test_an_inbox_has_no_way_to_it(world: World) -> None:
    world.endpoint("RT3", 0, type="inbox")
    done, steps = await tested(world, send=True)
    assert done.outcome == "passed"
    assert list(steps) == ["directory entry"]


async def test_nothing_is_connected_to_a_network_that_the_deployment_denies(world: World) -> None:
    for facts in (
        {"host": "169.254.169.254"},
        {"type": "dicomweb", "url": "http://[::ffff:a9fe:a9fe]/dicom"},
    ):
        world.endpoint("RT3", 80, **facts)
        done, steps = await tested(world, send=True)
        assert "is in a network to which nothing may be connected" in done.reason
        assert done.reason.startswith("name resolution: ")
        _, _, *later = (one["result"] for one in steps.values())
        assert set(later) == {"skipped"}


async def test_a_port_that_nobody_listens_on_and_a_name_that_nobody_knows(world: World) -> None:
    [port] = free_ports(1)
    world.endpoint("RT3", port)
    done, steps = await tested(world)
    assert f"127.0.0.1:{port} refuses connections" in done.reason
    assert steps["association"]["result"] == "skipped"
    world.endpoint("RT3", port, host="no-such-host.invalid")
    done, steps = await tested(world)
    assert "name resolution: the name no-such-host.invalid is not known" in done.reason
    assert "Correct the host" in steps["name resolution"]["advice"]


def shown(issued: Certificates) -> ssl.SSLContext:
    server = issued.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    return context


async def test_a_certificate_is_looked_at_before_the_node_is(world: World, tmp_path: Path) -> None:
    ours, other = Certificates(tmp_path / "ours"), Certificates(tmp_path / "other")
    secured = Options(ae_title="RT3_PACS", tls=shown(ours))
    other.server()
    async with simulated_pacs(options=secured) as pacs:
        world.endpoint("RT3", pacs.port, tls=True)
        done, steps = await tested(world, send=True, tls=TlsFiles(ours.ca))
        assert done.outcome == "passed", done.reason
        assert steps["TLS"]["facts"]["version"] == "TLSv1.3"
        assert steps["certificate"]["facts"]["days"] >= 0
        assert steps["found again"]["result"] == "ok"
        done, steps = await tested(world, tls=TlsFiles(other.ca))
        assert done.reason.startswith("certificate: the certificate is not accepted: ")
        assert steps["certificate"]["facts"]["subject"]
        assert steps["TLS"]["result"] == "ok"
        assert steps["association"]["result"] == "skipped"
        done, _ = await tested(world)
        assert "IMEX_DELIVERY_TLS_CA is not set" in done.reason


async def test_a_node_without_tls_where_the_directory_says_tls(world: World, tmp_path: Path) -> None:
    issued = Certificates(tmp_path)
    issued.server()
    async with simulated_pacs(options=SIMULATED) as pacs:
        world.endpoint("RT3", pacs.port, tls=True)
        done, _ = await tested(world, tls=TlsFiles(issued.ca))
    assert done.reason.startswith("TLS: no TLS: ")


async def test_an_endpoint_that_the_directory_does_not_know(world: World) -> None:
    done, steps = await tested(world)
    assert done.reason == "directory entry: the directory in force has no endpoint RT3/pacs"
    assert steps["directory entry"]["advice"]


async def test_a_silent_node_does_not_hold_a_test_for_ever(world: World) -> None:
    async with simulated_pacs("stall-accept", options=SIMULATED) as pacs:
        world.endpoint("RT3", pacs.port)
        async with at_work(world, total_s=1.0):
            test = await asked(world)
            done = await until(lambda: row(world, test), lambda one: one.state == "done", 5)
    assert done.outcome == "failed"
    assert "did not end within" in done.reason


async def test_a_second_test_of_an_endpoint_is_refused_while_one_runs(world: World) -> None:
    first, second = await asked(world), await asked(world)
    assert (await row(world, second)).outcome == "refused"
    assert "ask again" in (await row(world, second)).reason
    assert (await row(world, first)).state == "waiting"
    other = await asked(world, recipient="RXX")
    assert (await row(world, other)).state == "waiting"


async def test_a_command_that_comes_twice_is_one_test(world: World) -> None:
    event = command()
    for _ in range(2):
        async with world.database.unit() as unit:
            await ask(unit, event)
    assert (await row(world, event.data.test)).state == "waiting"


async def test_only_the_newest_tests_are_kept(world: World) -> None:
    for _ in range(KEPT + 5):
        await asked(world)
    async with world.database.unit() as unit:
        count = await unit.connection.scalar(select(func.count()).select_from(endpoint_tests))
    assert count == KEPT + 1  # and the one that waits


async def test_a_test_whose_process_has_gone_is_taken_up_once_and_then_given_up(world: World) -> None:
    test = await asked(world)
    gone, other = Rows(world.database, "gone"), Rows(world.database, "other")
    assert [one.id for one in await gone.claim(2)] == [test]
    assert await other.claim(2) == []
    await lapse(world, test)
    assert [one.id for one in await other.claim(2)] == [test]
    assert not await gone.end(test, [], "passed", "")
    await lapse(world, test)
    assert await other.claim(2) == []
    assert (await row(world, test)).outcome == "broken off"


async def test_a_process_does_not_begin_again_what_it_is_testing(world: World) -> None:
    """Only the lease could not be renewed: the database was away, say."""
    async with simulated_pacs("stall-accept", options=SIMULATED) as pacs:
        world.endpoint("RT3", pacs.port)
        async with at_work(world) as tester:
            test = await asked(world)
            await until(lambda: row(world, test), lambda one: len(one.steps) == 5)
            await lapse(world, test)
            await tester._begin()
            assert (await row(world, test)).attempts == 1


async def test_a_process_breaks_off_what_another_one_has_taken_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imex.delivery.endpoint_tests.tester._RENEW_S", 0.1)
    async with simulated_pacs("stall-accept", options=SIMULATED) as pacs:
        world.endpoint("RT3", pacs.port)
        async with at_work(world) as tester:
            test = await asked(world)
            await until(lambda: row(world, test), lambda one: len(one.steps) == 5)
            async with world.database.unit() as unit:
                await unit.connection.execute(update(endpoint_tests).values(leased_by="other", steps=[]))
            await until(idle(tester), lambda running: not running, 5)
        after = await row(world, test)
    assert (after.state, after.leased_by, after.steps) == ("running", "other", [])


def idle(tester: EndpointTester) -> Callable[[], Awaitable[int]]:
    async def running() -> int:
        return len(tester._running)

    return running


async def lapse(world: World, test: UUID) -> None:
    async with world.database.unit() as unit:
        await unit.connection.execute(
            update(endpoint_tests)
            .where(endpoint_tests.c.id == test)
            .values(lease_until=func.now() - timedelta(seconds=1))
        )
