"""Each failure of a simulated PACS at each type of endpoint: the end, the words, and no effect twice.

All run at once, each to a destination of its own, beside one that works. While a destination goes on failing
a delivery ends, or is tried again, as its case says. Then it behaves well, a person asks for what had failed
again, and everything is there once.
"""

import asyncio
from collections.abc import Iterator
from statistics import median

import pytest
from pydantic import SecretStr
from tests.integration.failure_world import IMAGES, STEPS_S, TRYING, Case, Good, Seen, failing_world, run

from imex.delivery import decide
from imex.delivery.confirming.dimse import AskLimits, Nodes
from imex.directory.model import DicomEndpoint
from imex.settings import S3Settings
from imex.simulation.failures import FAILURES
from imex.simulation.pacs import SimulatedPacs, simulated_pacs
from imex.storage import MinioStore
from imex.testing.parts import MinioPart, PostgresPart
from imex.testing.postgres import new_database

pytestmark = pytest.mark.alone

FOUND = "a query found it there"
CASES = (
    Case("dicom", "reject-transient", TRYING, "rejected for now: temporary congestion", kept=0),
    Case("dicom", "reject-limit", TRYING, "rejected for now: local limit exceeded", kept=0),
    Case("dicom", "reject-permanent", TRYING, "permanently: called AE title not recognised", kept=0),
    Case("dicom", "refuse-class", "failed", "the destination does not accept CT Image Storage", kept=0),
    Case("dicom", "refuse-syntax", "failed", "does not accept CT Image Storage", kept=0),
    Case("dicom", "implicit-only", "delivered", "sent in Implicit VR Little Endian"),
    Case("dicom", "status-a700", TRYING, "A700 out of resources", kept=0),
    Case("dicom", "status-0110", TRYING, "0110 processing failure", kept=0),
    Case("dicom", "status-0122", "failed", "0122 SOP class not supported", kept=0),
    Case("dicom", "status-a900", "failed", "A900 data set does not match SOP class", kept=0),
    Case("dicom", "status-c000", "failed", "C000 cannot understand", kept=0),
    Case("dicom", "status-b000", "delivered", "stored with a warning: B000 coercion of data elements"),
    Case("dicom", "stall-accept", TRYING, "no answer to the association request within 1 s", kept=0),
    Case("dicom", "stall-data", TRYING, "", kept=0),
    Case("dicom", "stall-response", TRYING, "no response within 1 s", kept=None),
    Case("dicom", "stall-response", "delivered", FOUND, confirm="query"),
    Case("dicom", "slow-response", TRYING, "no response within 1 s", kept=None),
    Case("dicom", "slow-response", "delivered", FOUND, confirm="query"),
    Case("dicom", "slow-reader", "delivered", ""),
    Case("dicom", "abort-mid-data", TRYING, "", kept=0),
    Case("dicom", "abort-after-data", TRYING, "association aborted by the peer", kept=None),
    Case("dicom", "abort-after-data", "delivered", FOUND, confirm="query"),
    Case("dicom", "close-after-data", TRYING, "the connection was lost", kept=None),
    Case("dicom", "close-after-data", "delivered", FOUND, confirm="query"),
    Case(
        "dicom",
        "wrong-instance",
        TRYING,
        "answered for another instance than it was sent",
        kept=None,
    ),
    Case("dicom", "wrong-instance", "delivered", FOUND, confirm="query"),
    Case("dicom", "wrong-message", TRYING, "the peer answered something that had not been asked", kept=None),
    Case("dicom", "wrong-message", "delivered", FOUND, confirm="query"),
    Case("dicom", "answer-twice", "delivered", ""),
    Case("dicom", "lose", "delivered", "", kept=0),  # believed: nothing else was asked for
    Case("dicom", "lose", "failed", "a query does not find it", confirm="query", kept=0),
    Case("dicom", "lose", "failed", "not committed", confirm="commitment", kept=0),
    Case("dicom", "duplicate", "delivered", "", confirm="query", kept=2 * IMAGES),
    Case("dicom", "wrong-identifiers", "failed", "a query does not find it", confirm="query"),
    Case("dicom", "late", "delivered", "", confirm="query"),
    Case("dicom", "find-none", TRYING, "not confirmed", confirm="query"),
    Case("dicom", "find-fails", TRYING, "not confirmed", confirm="query"),
    Case("dicom", "find-stalls", TRYING, "not confirmed", confirm="query"),
    Case("dicom", "commit-none", "delivered", "", confirm="commitment"),
    Case("dicom", "commit-fails", "failed", "not committed", confirm="commitment"),
    Case("dicom", "commit-silent", "delivered", "", confirm="commitment"),
    Case("dicomweb", "unauthorised", TRYING, "the server refuses access: 401 unauthorised", kept=0),
    Case("dicomweb", "forbidden", TRYING, "the server refuses access: 403 forbidden", kept=0),
    Case("dicomweb", "conflict", "failed", "refused by the destination: A900", kept=0),
    Case("dicomweb", "too-large", "failed", "refused by the destination: 413 content too large", kept=0),
    Case("dicomweb", "unsupported", "failed", "415 unsupported media type", kept=0),
    Case("dicomweb", "too-many", TRYING, "429 too many requests", kept=0),
    Case("dicomweb", "error-500", TRYING, "500 server error", kept=0),
    Case("dicomweb", "unavailable", TRYING, "503 service unavailable", kept=0),
    Case("dicomweb", "some-failed", TRYING, "0110 processing failure", kept=0),
    Case("dicomweb", "empty-answer", "delivered", FOUND),
    Case("dicomweb", "stall-accept", TRYING, "no answer within", kept=0),
    Case("dicomweb", "stall-data", TRYING, "no answer within", kept=0),
    Case("dicomweb", "stall-response", TRYING, "no answer within 1 s"),
    Case("dicomweb", "stall-response", "delivered", FOUND, confirm="query"),
    Case("dicomweb", "slow-response", TRYING, "no answer within 1 s"),
    Case("dicomweb", "slow-response", "delivered", FOUND, confirm="query"),
    Case("dicomweb", "slow-reader", "delivered", ""),
    Case("dicomweb", "close-after-data", TRYING, "the server closed the connection instead of answering"),
    Case("dicomweb", "close-after-data", "delivered", FOUND, confirm="query"),
    Case("dicomweb", "wrong-instance", "delivered", FOUND),
    Case("dicomweb", "lose", "delivered", "", kept=0),
    Case("dicomweb", "lose", "failed", "a query does not find it", confirm="query", kept=0),
    Case("dicomweb", "duplicate", "delivered", "", confirm="query", kept=2 * IMAGES),
    Case("dicomweb", "wrong-identifiers", "failed", "a query does not find it", confirm="query"),
    Case("dicomweb", "late", "delivered", "", confirm="query"),
    Case("dicomweb", "find-none", TRYING, "not confirmed", confirm="query"),
    Case("dicomweb", "find-fails", TRYING, "not confirmed", confirm="query"),
    Case("dicomweb", "find-stalls", TRYING, "not confirmed", confirm="query"),
)


@pytest.fixture(scope="module")
def outcomes(postgres: PostgresPart, minio: MinioPart) -> Iterator[tuple[dict[str, Seen], Good]]:
    """Every case, run at once."""
    patch = pytest.MonkeyPatch()
    patch.setattr(decide, "FIRST_HOUR_STEPS_S", STEPS_S)
    patch.setattr(decide, "PROBE_STEPS_S", STEPS_S)
    settings = S3Settings(
        endpoint=minio.endpoint, access_key=minio.access_key, secret_key=SecretStr(minio.secret_key)
    )

    async def everything() -> tuple[dict[str, Seen], Good]:
        store = MinioStore(settings)
        try:
            await store.ensure_bucket()
            async with failing_world(new_database(postgres), store) as world:
                return await run(world, CASES)
        finally:
            await store.close()

    try:
        yield asyncio.run(everything())
    finally:
        patch.undo()


def test_every_failure_is_tried_at_every_type_that_can_show_it() -> None:
    shown = {(type_, one.name) for one in FAILURES for type_ in one.types}
    assert {(case.type, case.failure) for case in CASES} == shown


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_failing_destination(case: Case, outcomes: tuple[dict[str, Seen], Good]) -> None:
    seen = outcomes[0][case.name]
    ours = set(seen.study.digests)

    # the right end and the right words
    assert (seen.row.outcome or TRYING, case.words in seen.told) == (case.ends, True), (
        seen.row.outcome, seen.told
    )  # fmt: skip
    assert case.kept is None or len(seen.held) == case.kept

    # never a false `delivered`, where the destination can be asked
    if seen.row.outcome == "delivered" and not (case.failure == "lose" and case.confirm == "none"):
        assert ours <= set(seen.held)
    assert seen.receipts == (0 if case.ends == TRYING else 1)

    # in the end everything is there, and once
    assert seen.after.outcome == "delivered"
    if case.failure != "lose" or case.confirm != "none":
        assert ours <= set(seen.finally_held)
    if case.failure != "implicit-only":
        assert all(seen.finally_held[uid] == seen.study.digests[uid] for uid in ours & set(seen.finally_held))
    assert all(seen.digests_each[uid] <= 1 for uid in ours & set(seen.digests_each))
    others = set(seen.finally_held) - ours
    assert bool(others) == (case.failure == "duplicate")


def test_a_good_destination_is_not_slowed(outcomes: tuple[dict[str, Seen], Good]) -> None:
    good = outcomes[1]
    assert len(good.took) >= 10
    assert median(good.took) < 1.0, good.took  # the first ones wait for the burst in which all begin


async def test_a_node_that_is_silent_to_queries_keeps_no_other_waiting() -> None:
    def node(pacs: SimulatedPacs) -> DicomEndpoint:
        return DicomEndpoint(
            name="pacs", type="dicom", ae_title="SIMULATED", host="127.0.0.1", port=pacs.port
        )

    nodes = Nodes("IMEX", AskLimits(2.0, 3.0))
    async with simulated_pacs("find-stalls") as silent, simulated_pacs() as good:
        asked = [
            asyncio.create_task(nodes.held(node(silent), "2.25.1", frozenset({"2.25.2"}))) for _ in range(8)
        ]
        try:
            async with asyncio.timeout(2.0):
                assert await nodes.held(node(good), "2.25.1", frozenset({"2.25.2"})) == set()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
    nodes.close()
