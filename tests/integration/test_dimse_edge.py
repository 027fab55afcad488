"""PROXY headers, shared ports and draining, on real sockets."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
from collections.abc import AsyncIterator

import pytest
import uvloop

from imex.dimse import (
    Acceptor,
    AssociationRejected,
    ConnectionFailed,
    DimseError,
    Edge,
    Limits,
    connect,
    serve,
)
from imex.dimse import pdu as codec
from imex.dimse.items import ProposedContext, UserInformation
from imex.dimse.proxy import SIGNATURE
from imex.dimse.tls import client_context, server_context
from imex.local.certificates import Certificates
from imex.testing.dimse import DimseRecorder, Failures

VERIFICATION, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"
CONTEXTS = [(VERIFICATION, [IMPLICIT])]
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
ELSEWHERE = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))
REQUEST = codec.encode_associate_request(
    codec.AssociateRequest(
        "B", "A", (ProposedContext(1, VERIFICATION, (IMPLICIT,)),), UserInformation(16384, "1.2.3")
    )
)
ACCEPTED, ABORTED = 2, 7

pytestmark = [
    pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture'),
    pytest.mark.alone,
]


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Everything on asyncio's own loop and on the one that the services run on."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA with a server's and a sender's certificate."""
    return Certificates(tmp_path_factory.mktemp("tls"))


def proxy_header(address: str, port: int = 50123) -> bytes:
    """A PROXY header of version 2 for a TCP connection from there."""
    packed = ipaddress.ip_address(address).packed
    body = packed + bytes(len(packed)) + struct.pack("!HH", port, 2762)
    return SIGNATURE + bytes([0x21, 0x11 if len(packed) == 4 else 0x21]) + len(body).to_bytes(2) + body


def server_tls(issued: Certificates) -> ssl.SSLContext:
    pair = issued.server()
    return server_context(pair.certificate, pair.key, issued.ca)


@contextlib.asynccontextmanager
async def listening(
    recorder: DimseRecorder, edge: Edge, failures: Failures | None = None, limits: Limits | None = None
) -> AsyncIterator[Acceptor]:
    acceptor = await serve("127.0.0.1", 0, recorder, limits, observer=failures, edge=edge)
    try:
        yield acceptor
    finally:
        await acceptor.close()


async def first_pdu(reader: asyncio.StreamReader) -> int:
    """The type of the next PDU; 0 where the connection is closed."""
    async with asyncio.timeout(10):
        try:
            return (await reader.readexactly(1))[0]
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0


async def asked(port: int, *pieces: bytes) -> int:
    """Send these, one after the other; the type of the first PDU that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        return await first_pdu(reader)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::9"])
@pytest.mark.parametrize("cut", [0, 7, 16, 20])
async def test_a_listed_balancer_says_who_the_peer_is(address: str, cut: int) -> None:
    header = proxy_header(address)
    recorder = DimseRecorder()
    async with listening(recorder, Edge(balancers=LOOPBACK)) as acceptor:
        assert await asked(acceptor.port, header[:cut], header[cut:] + REQUEST) == ACCEPTED
    assert [(each.peer_host, each.peer_port) for each in recorder.requests] == [(address, 50123)]


async def test_from_a_listed_balancer_the_header_is_compulsory() -> None:
    recorder, failures = DimseRecorder(), Failures()
    async with listening(recorder, Edge(balancers=LOOPBACK), failures) as acceptor:
        assert await asked(acceptor.port, REQUEST) == 0
    assert recorder.requests == []
    assert failures.seen == [("127.0.0.1", "proxy header", "no PROXY header of version 2")]


async def test_a_header_that_never_ends_is_over_at_the_deadline() -> None:
    recorder, failures = DimseRecorder(), Failures()
    limits = Limits(handshake_s=0.2)
    async with listening(recorder, Edge(balancers=LOOPBACK), failures, limits) as acceptor:
        assert await asked(acceptor.port, proxy_header("203.0.113.9")[:20]) == 0
        assert await asked(acceptor.port, SIGNATURE + b"\x21\x11\xff\xff" + bytes(100)) == 0
    assert failures.seen == [
        ("127.0.0.1", "proxy header", "no proxy header in time"),
        ("127.0.0.1", "proxy header", "PROXY header of 65535 bytes"),
    ]


async def test_a_forged_header_from_anybody_else_is_no_dicom(issued: Certificates) -> None:
    recorder = DimseRecorder()
    edge = Edge(balancers=ELSEWHERE, tls_port=0, tls=lambda: server_tls(issued))
    async with listening(recorder, edge) as acceptor:
        forged = proxy_header("10.1.2.3") + REQUEST
        assert await asked(acceptor.port, forged) in {0, ABORTED}
        assert await asked(acceptor.tls_port, forged) in {0, 0x15}  # a TLS alert
        assert await asked(acceptor.port, REQUEST) == ACCEPTED
    assert [each.peer_host for each in recorder.requests] == ["127.0.0.1"]


async def test_on_the_tls_port_the_header_comes_before_the_handshake(issued: Certificates) -> None:
    recorder = DimseRecorder()
    edge = Edge(balancers=LOOPBACK, tls_port=0, tls=lambda: server_tls(issued))
    pair = issued.client("RQM")
    context = client_context(issued.ca, pair.certificate, pair.key)
    async with listening(recorder, edge) as acceptor:
        connection = socket.create_connection(("127.0.0.1", acceptor.tls_port))
        connection.sendall(proxy_header("203.0.113.9"))
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=connection, ssl=context, server_hostname="localhost"
        )
        writer.write(REQUEST)
        assert await first_pdu(reader) == ACCEPTED
        writer.transport.abort()
    (request,) = recorder.requests
    assert request.peer_host == "203.0.113.9"
    assert request.peer_certificate is not None


async def test_a_balancers_own_check_is_the_balancer_itself() -> None:
    recorder = DimseRecorder()
    local = SIGNATURE + b"\x20\x00\x00\x00"
    async with listening(recorder, Edge(balancers=LOOPBACK)) as acceptor:
        assert await asked(acceptor.port, local + REQUEST) == ACCEPTED
    assert [each.peer_host for each in recorder.requests] == ["127.0.0.1"]


async def test_two_that_share_a_port_both_get_associations_and_one_can_go() -> None:
    one, two = DimseRecorder(), DimseRecorder()
    first = await serve("127.0.0.1", 0, one, edge=Edge(shared=True))
    second = await serve("127.0.0.1", first.port, two, edge=Edge(shared=True))
    try:
        while not (one.requests and two.requests):
            assert len(one.requests) + len(two.requests) < 200, "the kernel spreads connections"
            async with connect("127.0.0.1", first.port, "A", "B", CONTEXTS) as association:
                assert await association.echo() == 0
        await first.drain(5)
        for _ in range(20):
            async with connect("127.0.0.1", second.port, "A", "B", CONTEXTS) as association:
                assert await association.echo() == 0
    finally:
        await first.close()
        await second.close()


async def test_a_port_that_is_not_shared_is_one_processes() -> None:
    first = await serve("127.0.0.1", 0, DimseRecorder())
    try:
        with pytest.raises(OSError, match="in use"):
            await serve("127.0.0.1", first.port, DimseRecorder(), edge=Edge(shared=True))
    finally:
        await first.close()


async def test_who_connected_just_before_a_drain_is_told_to_come_again() -> None:
    recorder = DimseRecorder()
    async with listening(recorder, Edge()) as acceptor:
        reader, writer = await asyncio.open_connection("127.0.0.1", acceptor.port)
        draining = asyncio.create_task(acceptor.drain(5))
        await asyncio.sleep(0.05)
        writer.write(REQUEST)
        answer = await asyncio.wait_for(reader.readexactly(10), 10)
        assert codec.decode_associate_reject(answer[6:]) == codec.AssociateReject(2, 3, 1)
        writer.close()
        await asyncio.wait_for(draining, 10)
    assert recorder.requests == []


async def test_a_plain_port_that_is_off_is_not_there(issued: Certificates) -> None:
    edge = Edge(tls_port=0, tls=lambda: server_tls(issued))
    acceptor = await serve("127.0.0.1", None, DimseRecorder(), edge=edge)
    try:
        assert acceptor.port == 0
        assert acceptor.tls_port > 0
        with pytest.raises(DimseError) as raised:
            async with connect("127.0.0.1", acceptor.tls_port, "A", "B", CONTEXTS):
                pass
        assert not isinstance(raised.value, AssociationRejected)
        assert isinstance(raised.value, ConnectionFailed)
    finally:
        await acceptor.close()
