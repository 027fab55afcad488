"""What ingest answers is in the conformance statement."""

from collections.abc import Callable
from typing import Any

import pytest

from imex.conformance.answers import REJECTIONS, STORE_ANSWERS
from imex.dimse import Reject, StoreResponse
from imex.ingest.ports import Tuning
from imex.runtime.errors import BrokerUnavailable
from imex.storage import StoreFull, StoreUnavailable

MakeDataset = Callable[..., bytes]
Trouble = Callable[[Any], None]


def rejection(words: str) -> tuple[int, int, int]:
    """What the statement has for these words."""
    (found,) = [(each.result, each.source, each.reason) for each in REJECTIONS if each.words == words]
    return found


def no_directory(world: Any) -> None:
    world.directory[0] = None


def full(world: Any) -> None:
    world.doors.room = 0


def full_for_one(world: Any) -> None:
    world.doors.room, world.doors.full = 0, "institution"


def nothing(_: Any) -> None:
    """No trouble."""


@pytest.mark.parametrize(
    ("words", "titles", "trouble"),
    [
        ("calling AE title not recognized", {"calling_ae": "NOBODY"}, nothing),
        ("calling AE title not recognized", {"calling_ae": "RT3_PACS"}, nothing),
        ("called AE title not recognized", {"called_ae": "NOWHERE"}, nothing),
        ("temporary congestion", {}, no_directory),
        ("temporary congestion", {}, full),
        ("local limit exceeded", {}, full_for_one),
    ],
)
async def test_associations_are_rejected_as_stated(
    world: Any, words: str, titles: dict[str, str], trouble: Trouble
) -> None:
    trouble(world)
    reject = await world.connect(**titles)
    assert isinstance(reject, Reject)
    assert (reject.result, reject.source, reject.reason) == rejection(words)


def store_full(world: Any) -> None:
    world.store.failure = StoreFull("no room")


def store_away(world: Any) -> None:
    world.store.failure = StoreUnavailable("away")


def broker_away(world: Any) -> None:
    world.broker.failure = BrokerUnavailable("away")


def broken(world: Any) -> None:
    world.broker.failure = RuntimeError("a bug")


def slow(world: Any) -> None:
    world.broker.delay_s = 1.0


@pytest.mark.parametrize(
    ("begins", "trouble"),
    [
        ("out of resources: the object store is full", store_full),
        ("out of resources: the object store is not available", store_away),
        ("out of resources: the event broker is not available", broker_away),
        ("out of resources: could not be made safe in time", slow),
        ("out of resources: could not be made safe", broken),
        ("out of resources: no directory", no_directory),
        ("", nothing),
    ],
)
async def test_instances_are_answered_as_stated(
    new_world: Callable[..., Any], dataset: MakeDataset, begins: str, trouble: Trouble
) -> None:
    world = new_world(Tuning(safe_within_s=0.1))
    handler = await world.handler()
    trouble(world)
    answer = await world.send(handler, dataset())
    stated = [(each.status, each.comment) for each in STORE_ANSWERS]
    assert (answer.status, answer.comment) in stated
    assert answer.comment == begins


async def test_a_recipient_without_an_agreement_is_answered_as_stated(
    world: Any, dataset: MakeDataset
) -> None:
    handler = await world.handler(called_ae="RX1")
    answer = await world.send(handler, dataset())
    assert isinstance(answer, StoreResponse)
    (stated,) = [each for each in STORE_ANSWERS if each.code == "0124"]
    assert answer.status == stated.status
    assert answer.comment.startswith(stated.comment.removesuffix("…"))
