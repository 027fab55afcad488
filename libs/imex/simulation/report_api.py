"""What a simulated PACS tells of itself over HTTP: what it received, and how it is told to misbehave."""

from typing import Any, Final

from aiohttp import web

from imex.simulation.failures import UnknownFailure, failures_of, named
from imex.simulation.misbehaviour import Misbehaviour
from imex.simulation.options import Options
from imex.simulation.shelf import Shelf

_LOOPBACK: Final = "127.0.0.1"


class ReportApi:
    """GET / tells everything; PUT /failures tells it how to misbehave; DELETE /received begins anew.

    On the loopback interface only: it has no sign-in.
    """

    def __init__(self, options: Options, misbehaviour: Misbehaviour, shelf: Shelf) -> None:
        """Nothing listens yet."""
        self._options = options
        self._misbehaviour = misbehaviour
        self._shelf = shelf
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; the port."""
        app = web.Application()
        app.router.add_get("/", self._all)
        app.router.add_get("/received", self._received)
        app.router.add_delete("/received", self._forget)
        app.router.add_get("/failures", self._failures)
        app.router.add_put("/failures", self._tell)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, _LOOPBACK, self._options.api_port or 0).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _all(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "ae_title": self._options.ae_title,
                "type": self._options.type,
                **standing(self._misbehaviour),
                "associations": dict(self._shelf.associations),
                "instances": received(self._shelf),
            }
        )

    async def _received(self, _: web.Request) -> web.Response:
        return web.json_response(received(self._shelf))

    async def _forget(self, _: web.Request) -> web.Response:
        self._shelf.forget()
        return web.Response(status=204)

    async def _failures(self, _: web.Request) -> web.Response:
        return web.json_response(
            [
                {"name": one.name, "stage": one.stage, "does": one.does, "sender": one.sender}
                for one in failures_of(self._options.type)
            ]
        )

    async def _tell(self, request: web.Request) -> web.Response:
        try:
            wish = await request.json()
            failures = named([str(name) for name in wish.get("failures", [])], self._options.type)
            after, times = int(wish.get("after", 0)), wish.get("times")
            self._misbehaviour.tell(failures, after=after, times=None if times is None else int(times))
        except UnknownFailure as error:
            return web.json_response({"title": str(error)}, status=422)
        except (ValueError, AttributeError, TypeError):
            words = 'expected {"failures": [names], "after": number, "times": number or null}'
            return web.json_response({"title": words}, status=400)
        return web.json_response(standing(self._misbehaviour))


def standing(misbehaviour: Misbehaviour) -> dict[str, Any]:
    """How it is told to misbehave, and how often it has."""
    return {
        "failures": [one.name for one in misbehaviour.failures],
        "after": misbehaviour.after,
        "times": misbehaviour.times,
        "struck": dict(misbehaviour.struck),
    }


def received(shelf: Shelf) -> dict[str, Any]:
    """By SOP Instance UID: how often it came in and was kept, with which digests, what was answered."""
    return {
        uid: {
            "received": one.received,
            "kept": one.kept,
            "held": shelf.holds(uid),
            "digests": sorted(one.digests),
            "answers": dict(one.answers),
        }
        for uid, one in shelf.tallies.items()
    }
