"""Answers of several pieces: how each can end, and that its room is given back."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import Any

import pytest

from imex.portal.archive import Broken
from imex.portal.streaming import STOPPED, WENT_AWAY, HandedOut, begun
from imex.storage import StoreUnavailable

SCOPE: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "GET", "path": "/"}


class Reader:
    """What a server is to an answer: `takes` pieces are read, and then something else happens."""

    def __init__(self, takes: int = 100, then: str = "") -> None:
        self.takes = takes
        self.then = then
        self.body = b""
        self.gone = asyncio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] != "http.response.body":
            return
        if self.takes == 0:
            if self.then == "away":
                self.gone.set()
            await asyncio.Event().wait()
        self.takes -= 1
        self.body += message["body"]

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}


class Handing:
    """An answer under test, and what became of it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.told: list[str] = []
        self.room_back = False
        self.closed = False

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in (b"a", b"b", b"c"):
                yield piece
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True

    async def broken_off(self, why: str) -> None:
        await asyncio.sleep(0)  # as a database would take its time
        self.told.append(why)

    async def to(self, reader: Reader, reader_s: float = 60.0) -> None:
        room = ExitStack()
        room.callback(lambda: setattr(self, "room_back", True))
        pieces = self.pieces()
        answer = HandedOut(await begun(pieces, self.broken_off), pieces, room, self.broken_off, {}, reader_s)
        await answer(SCOPE, reader.receive, reader.send)

    def is_over(self) -> bool:
        return self.room_back and self.closed


async def test_an_answer_that_is_read_whole_tells_nothing() -> None:
    handing, reader = Handing(), Reader()
    await handing.to(reader)
    assert reader.body == b"abc"
    assert handing.told == []
    assert handing.is_over()


async def test_a_reader_that_goes_away_is_told_of() -> None:
    handing = Handing()
    await handing.to(Reader(takes=1, then="away"))
    assert handing.told == [WENT_AWAY]
    assert handing.is_over()


async def test_a_reader_that_stops_reading_gives_its_place_to_another() -> None:
    handing = Handing()
    await handing.to(Reader(takes=1), reader_s=0.01)
    assert handing.told == [STOPPED]
    assert handing.is_over()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Broken("it does not match its digest"), "it does not match its digest"),
        (StoreUnavailable("away"), "the object store failed"),
        (RuntimeError("a fault"), "something went wrong on our side"),
    ],
)
async def test_what_cannot_be_handed_out_whole_has_no_end(error: Exception, why: str) -> None:
    handing, reader = Handing(error), Reader()
    with pytest.raises(type(error)):
        await handing.to(reader)
    assert reader.body == b"abc"
    assert handing.told == [why]
    assert handing.is_over()


async def test_a_server_that_stops_still_keeps_how_far_it_came() -> None:
    handing = Handing()
    serving = asyncio.create_task(handing.to(Reader(takes=1)))
    for _ in range(10):
        await asyncio.sleep(0)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert handing.told == ["the portal is stopping"]
    assert handing.is_over()
