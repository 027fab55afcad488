"""What no request may bring is refused before it is read or looked up."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from imex.portal.guard import DIRECTORY_PATH, MAX_BODY_BYTES, RequestGuard

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def client() -> httpx2.AsyncClient:
    app = Starlette(routes=[Route("/{rest:path}", echo, methods=["GET", "POST", "PUT"])])
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=RequestGuard(app)), base_url="http://portal.test"
    )


@pytest.mark.parametrize("address", ["/shares?study_uid=%00", "/shares?q=a%00b", "/studies/RQM/1%00/share"])
async def test_nul_in_an_address_is_refused(client: httpx2.AsyncClient, address: str) -> None:
    answer = await client.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"username=a%00b", FORM), (b'{"note": "a\\u0000b"}', JSON), (b"a\0b", {"content-type": "text/yaml"})],
)
async def test_nul_in_a_body_is_refused(
    client: httpx2.AsyncClient, body: bytes, headers: dict[str, str]
) -> None:
    assert (await client.post("/shares", content=body, headers=headers)).status_code == 400


async def test_other_requests_pass_unchanged(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/shares?q=M%C3%BCller")).text == "0"
    assert (await client.post("/shares", content=b"x" * MAX_BODY_BYTES)).text == str(MAX_BODY_BYTES)
    assert (await client.put(DIRECTORY_PATH, content=b"x" * (MAX_BODY_BYTES + 1))).text == str(
        MAX_BODY_BYTES + 1
    )


async def test_a_body_that_says_it_is_too_large_is_not_read(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/shares", content=b"x" * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


async def test_a_body_without_a_length_is_read_up_to_the_limit_only(client: httpx2.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * (MAX_BODY_BYTES // 16)

    assert (await client.post("/shares", content=endless())).status_code == 413
