"""HTTPS to a server with a certificate of a private CA: vouched for, or nothing is sent."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from imex.delivery.targets import CannotDeliver
from imex.delivery.targets.certificates import Certificates
from imex.delivery.targets.dicomweb.web import Web, WebLimits
from imex.local.certificates import Certificates as Authority


@asynccontextmanager
async def server(authority: Authority, *, days: float = 30) -> AsyncIterator[tuple[int, list[bytes]]]:
    """The port of one that keeps what it gets."""
    got: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        got.append(await request.read())
        if request.path == "/elsewhere":
            raise web.HTTPFound("/dicom-web")
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", take)
    pair = authority.server(days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        assert site._server is not None
        yield site._server.sockets[0].getsockname()[1], got  # type: ignore[attr-defined]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(ca: Path | None) -> AsyncIterator[Web]:
    tls = Certificates(ca, None, None)
    made = Web(tls.context if ca is not None else None, WebLimits(connect_s=2.0, response_s=2.0))
    try:
        yield made
    finally:
        await made.close()


async def test_a_private_authority_vouches_for_a_server(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with server(ours) as (port, got), asking(ours.ca) as client:
        for host in ("localhost", "127.0.0.1"):
            answered = await client.ask("POST", f"https://{host}:{port}/dicom-web/studies", body=b"images")
            assert answered.status == 200
    assert got == [b"images"] * 2


async def test_nothing_is_sent_to_who_is_not_vouched_for(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    ours.server()
    async with server(theirs) as (port, got), asking(ours.ca) as client:
        with pytest.raises(CannotDeliver, match="the server's certificate: ") as raised:
            await client.ask("POST", f"https://localhost:{port}/studies?patient=x", body=b"images")
    assert got == []
    assert not raised.value.in_doubt
    assert "patient" not in str(raised.value)


async def test_a_certificate_that_has_expired_is_told(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with server(ours, days=-1) as (port, got), asking(ours.ca) as client:
        with pytest.raises(CannotDeliver, match="the server's certificate: certificate has expired"):
            await client.ask("GET", f"https://localhost:{port}/studies")
    assert got == []


async def test_without_an_authority_nobody_is_asked(tmp_path: Path) -> None:
    async with server(Authority(tmp_path)) as (port, got), asking(None) as client:
        with pytest.raises(CannotDeliver, match="IMEX_DELIVERY_TLS_CA is not set"):
            await client.ask("POST", f"https://localhost:{port}/studies", body=b"images")
    assert got == []


async def test_a_redirect_is_an_answer_and_is_not_followed(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with server(ours) as (port, got), asking(ours.ca) as client:
        answered = await client.ask("POST", f"https://localhost:{port}/elsewhere", body=b"images")
    assert (answered.status, len(got)) == (302, 1)


async def test_a_server_without_tls_is_told_from_one_with(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with server(ours) as (port, got), asking(ours.ca) as client:
        with pytest.raises(CannotDeliver):
            await client.ask("POST", f"http://localhost:{port}/studies", body=b"images")
    assert got == []
