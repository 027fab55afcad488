"""The TLS port on real sockets: its profile, real peers, stalling handshakes, changed certificates, ends."""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from pynetdicom import AE

from imex.dimse import Acceptor, Edge, Limits, StoreCommand, serve
from imex.dimse import pdu as codec
from imex.dimse.command import echo_request, store_request
from imex.dimse.items import ProposedContext, UserInformation
from imex.dimse.memory import TLS_BYTES, SharedMemory
from imex.dimse.tls import TlsFilesInvalid, client_context, server_context
from imex.local.certificates import Certificates, Pair
from imex.testing.dicom import synthetic_study
from imex.testing.dimse import DimseRecorder, Failures, read_instance
from imex.testing.runtime import until

VERIFICATION, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"
CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"

pytestmark = pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture')


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Everything on asyncio's own loop and on the one that the services run on."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA with a server's certificate and two senders'."""
    made = Certificates(tmp_path_factory.mktemp("tls"))
    made.server()
    made.clients(["RQM", "RT3"])
    return made


def context_of(issued: Certificates) -> ssl.SSLContext:
    server = issued.server()
    return server_context(server.certificate, server.key, issued.ca)


@contextlib.asynccontextmanager
async def listening(
    recorder: DimseRecorder,
    tls: Callable[[], ssl.SSLContext],
    limits: Limits | None = None,
    failures: Failures | None = None,
) -> AsyncIterator[Acceptor]:
    edge = Edge(tls_port=0, tls=tls)
    acceptor = await serve("127.0.0.1", 0, recorder, limits, observer=failures, edge=edge)
    try:
        yield acceptor
    finally:
        await acceptor.close()


async def run(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


async def echoscu(port: int, issued: Certificates, pair: Pair | None, *options: str) -> tuple[int, str]:
    """DCMTK's echoscu with TLS; without a certificate when `pair` is None."""
    shown = ["+tls", str(pair.key), str(pair.certificate)] if pair else ["+tla"]
    trusted = ["+cf", str(issued.ca)]
    return await run("echoscu", "-v", "-to", "15", *shown, *trusted, *options, "127.0.0.1", str(port))


async def handshake(port: int, context: ssl.SSLContext) -> ssl.SSLObject:
    """A TLS handshake to its end; what was agreed on. In TLS 1.3 a refusal is seen only when reading."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost", ssl_handshake_timeout=10
    )
    agreed: ssl.SSLObject = writer.get_extra_info("ssl_object")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            assert await reader.read(1) == b"", "nothing comes by itself"
            raise ConnectionError("closed")
    writer.transport.abort()
    return agreed


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
async def test_dcmtk_associates_with_each_profile_of_bcp_195(issued: Certificates, profile: str) -> None:
    recorder = DimseRecorder()
    async with listening(recorder, lambda: context_of(issued)) as acceptor:
        code, said = await echoscu(acceptor.tls_port, issued, issued.client("RQM"), profile)
        assert code == 0, said
        (request,) = recorder.requests
    shown = issued.client("RQM").certificate.read_text()
    assert request.peer_certificate == ssl.PEM_cert_to_DER_cert(shown)
    assert request.peer_host == "127.0.0.1"


async def test_dcmtk_sends_a_file_byte_identical(issued: Certificates, tmp_path: Path) -> None:
    (path,) = synthetic_study(1).write(tmp_path)
    recorder = DimseRecorder()
    pair = issued.client("RQM")
    async with listening(recorder, lambda: context_of(issued)) as acceptor:
        options = ["+tls", str(pair.key), str(pair.certificate), "+cf", str(issued.ca)]
        code, said = await run("storescu", *options, "127.0.0.1", str(acceptor.tls_port), str(path))
        assert code == 0, said
    sent = read_instance(path)
    assert bytes(recorder.stored[sent.sop_instance].data) == sent.data


async def test_pynetdicom_associates(issued: Certificates) -> None:
    pair = issued.client("RQM")
    context = client_context(issued.ca, pair.certificate, pair.key)

    def echo(port: int) -> int:
        entity = AE(ae_title="RQM_PACS")
        entity.add_requested_context(VERIFICATION)
        association = entity.associate("127.0.0.1", port, tls_args=(context, "localhost"))
        assert association.is_established
        status = association.send_c_echo()
        association.release()
        return int(status.Status)

    async with listening(DimseRecorder(), lambda: context_of(issued)) as acceptor:
        assert await asyncio.to_thread(echo, acceptor.tls_port) == 0


async def test_without_a_certificate_there_is_no_association(issued: Certificates) -> None:
    recorder, failures = DimseRecorder(), Failures()
    async with listening(recorder, lambda: context_of(issued), failures=failures) as acceptor:
        code, _ = await echoscu(acceptor.tls_port, issued, None)
        assert code != 0
        await until(lambda: bool(failures.seen))
    assert recorder.requests == []
    assert failures.seen == [
        ("127.0.0.1", "tls handshake", "tls handshake failed: peer did not return a certificate")
    ]


async def test_a_certificate_of_another_ca_or_past_its_end_is_not_taken(
    issued: Certificates, tmp_path: Path
) -> None:
    stranger = Certificates(tmp_path / "stranger").client("RQM")
    recorder, failures = DimseRecorder(), Failures()
    async with listening(recorder, lambda: context_of(issued), failures=failures) as acceptor:
        for pair in (stranger, issued.client("OLD", days=-0.001)):
            code, said = await echoscu(acceptor.tls_port, issued, pair)
            assert code != 0, said
        await until(lambda: len(failures.seen) == 2)
    assert recorder.requests == []
    assert {stage for _, stage, _ in failures.seen} == {"tls handshake"}


async def test_tls_1_2_and_1_3_are_spoken_with_forward_secrecy_and_aead_only(issued: Certificates) -> None:
    pair = issued.client("RQM")
    async with listening(DimseRecorder(), lambda: context_of(issued)) as acceptor:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            context = client_context(issued.ca, pair.certificate, pair.key)
            context.minimum_version = context.maximum_version = version
            agreed = await handshake(acceptor.tls_port, context)
            assert agreed.version() == name
            assert agreed.compression() is None

        weak = client_context(issued.ca, pair.certificate, pair.key)
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers("ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(acceptor.tls_port, weak)

        old = client_context(issued.ca, pair.certificate, pair.key)
        with pytest.warns(DeprecationWarning):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(acceptor.tls_port, old)


async def test_500_peers_that_are_silent_or_stall_keep_nobody_out(
    issued: Certificates,
) -> None:
    limits = Limits(handshakes_per_address=8, handshake_s=20, handshake_stalled_s=1.0)
    async with contextlib.AsyncExitStack() as stack:
        acceptor = await stack.enter_async_context(
            listening(DimseRecorder(), lambda: context_of(issued), limits)
        )
        for number in range(500):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", acceptor.tls_port)))
            if number >= 250:
                connection.sendall(b"\x16\x03\x01\x02\x00\x01")  # begins a ClientHello, and no more
        began = time.monotonic()
        code, said = await echoscu(acceptor.tls_port, issued, issued.client("RQM"))
        took = time.monotonic() - began
        assert code == 0, said
        assert took < 5, f"a C-ECHO took {took:.2f} s beside 500 silent peers"


async def test_a_stalled_handshake_is_over_at_its_deadline(issued: Certificates) -> None:
    failures = Failures()
    limits = Limits(handshake_s=0.3)
    async with listening(DimseRecorder(), lambda: context_of(issued), limits, failures) as acceptor:
        with socket.create_connection(("127.0.0.1", acceptor.tls_port)) as connection:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")
            await until(lambda: bool(failures.seen))
            assert await asyncio.to_thread(connection.recv, 1) == b""
        assert acceptor.connections == 0
    assert failures.seen == [("127.0.0.1", "tls handshake", "no tls handshake in time")]


async def test_beyond_the_cap_on_connections_the_oldest_silent_one_gives_way(issued: Certificates) -> None:
    limits = Limits(connections=20)
    async with contextlib.AsyncExitStack() as stack:
        acceptor = await stack.enter_async_context(
            listening(DimseRecorder(), lambda: context_of(issued), limits)
        )
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(30)
            for port in (acceptor.tls_port, acceptor.port)
        ]
        await until(lambda: acceptor.connections == 20)
        assert await asyncio.to_thread(silent[0].recv, 1) == b""
        code, said = await echoscu(acceptor.tls_port, issued, issued.client("RQM"))
        assert code == 0, said
        code, said = await run("echoscu", "-v", "127.0.0.1", str(acceptor.port))
        assert code == 0, said


async def test_of_peers_that_end_their_handshake_and_ask_for_nothing_only_some_stay(
    issued: Certificates,
) -> None:
    pair = issued.client("RQM")
    context = client_context(issued.ca, pair.certificate, pair.key)
    memory = SharedMemory(32 * 1024 * 1024, 1024 * 1024)
    edge = Edge(tls_port=0, tls=lambda: context_of(issued), memory=memory)
    limits = Limits(associations=5, artim_s=300)
    acceptor = await serve("127.0.0.1", 0, DimseRecorder(), limits, edge=edge)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(acceptor.close)
        streams = [await opened(acceptor.tls_port, issued)]
        for _ in range(20):
            silent = asyncio.open_connection(
                "127.0.0.1", acceptor.tls_port, ssl=context, server_hostname="localhost"
            )
            streams.append(await silent)  # the readers too: one that is collected ends its connection
        for _, writer in streams:
            stack.callback(writer.transport.abort)
        await until(lambda: acceptor.connections <= 6)
        assert acceptor.associations == 1
        assert memory.used < 7 * TLS_BYTES
        code, said = await echoscu(acceptor.tls_port, issued, issued.client("RQM"))
        assert code == 0, said


async def test_a_changed_certificate_is_for_new_associations_and_drops_none(
    issued: Certificates, tmp_path: Path
) -> None:
    other = Certificates(tmp_path / "other")
    other.server()
    current = issued
    recorder = DimseRecorder()
    async with (
        listening(recorder, lambda: context_of(current)) as acceptor,
        associated(acceptor.tls_port, issued) as echo,
    ):
        assert await echo() == 0
        current = other
        code, _ = await echoscu(acceptor.tls_port, issued, issued.client("RQM"))
        assert code != 0, "the former CA is not trusted any more"
        code, said = await echoscu(acceptor.tls_port, other, other.client("RQM"))
        assert code == 0, said
        assert await echo() == 0, "what is under way goes on"


@contextlib.asynccontextmanager
async def associated(port: int, issued: Certificates) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """An association of pynetdicom's over TLS; what is given sends a C-ECHO and gives its status."""
    pair = issued.client("RQM")
    context = client_context(issued.ca, pair.certificate, pair.key)
    entity = AE(ae_title="RQM_PACS")
    entity.add_requested_context(VERIFICATION)
    association = await asyncio.to_thread(
        lambda: entity.associate("127.0.0.1", port, tls_args=(context, "localhost"))
    )
    assert association.is_established

    async def echo() -> int:
        status = await asyncio.to_thread(association.send_c_echo)
        return int(status.Status)

    try:
        yield echo
    finally:
        await asyncio.to_thread(association.release)


async def test_draining_lets_an_association_finish_on_the_tls_port_too(issued: Certificates) -> None:
    async with listening(DimseRecorder(), lambda: context_of(issued)) as acceptor:
        async with associated(acceptor.tls_port, issued) as echo:
            draining = asyncio.create_task(acceptor.drain(20))
            await asyncio.sleep(0)
            code, _ = await echoscu(acceptor.tls_port, issued, issued.client("RQM"))
            assert code != 0
            assert await echo() == 0
            assert not draining.done()
        await asyncio.wait_for(draining, 10)


async def test_at_the_deadline_of_a_drain_the_sender_gets_an_abort(issued: Certificates) -> None:
    recorder = DimseRecorder()
    async with listening(recorder, lambda: context_of(issued)) as acceptor:
        pair = issued.client("RQM")
        context = client_context(issued.ca, pair.certificate, pair.key)
        entity = AE(ae_title="RQM_PACS")
        entity.add_requested_context(VERIFICATION)
        association = await asyncio.to_thread(
            lambda: entity.associate("127.0.0.1", acceptor.tls_port, tls_args=(context, "localhost"))
        )
        assert association.is_established
        await acceptor.drain(0.2)
        await until(lambda: association.is_aborted)
        assert [ended.kind for ended in recorder.ended] == ["aborted"]


def test_files_that_do_not_fit_together_are_named(issued: Certificates, tmp_path: Path) -> None:
    server, client = issued.server(), issued.client("RQM")
    with pytest.raises(TlsFilesInvalid, match=r"server\.pem with key .*client-RQM\.key"):
        server_context(server.certificate, client.key, issued.ca)
    with pytest.raises(TlsFilesInvalid, match=r"CA file .*nowhere"):
        server_context(server.certificate, server.key, tmp_path / "nowhere")


async def test_a_context_that_asks_for_no_certificate_is_not_served(issued: Certificates) -> None:
    def lax() -> ssl.SSLContext:
        context = context_of(issued)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    recorder = DimseRecorder()
    async with listening(recorder, lax) as acceptor:
        code, _ = await echoscu(acceptor.tls_port, issued, issued.client("RQM"))
        assert code != 0
    assert recorder.requests == []


async def opened(port: int, issued: Certificates) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TLS connection with RQM's certificate on which the test speaks PDUs itself; associated."""
    pair = issued.client("RQM")
    context = client_context(issued.ca, pair.certificate, pair.key)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost", limit=2**10
    )
    contexts = (ProposedContext(1, CT, (EXPLICIT,)), ProposedContext(3, VERIFICATION, (IMPLICIT,)))
    request = codec.AssociateRequest("B", "A", contexts, UserInformation(16384, "1.2.3"))
    writer.write(codec.encode_associate_request(request))
    kind, length = struct.unpack(">BxI", await asyncio.wait_for(reader.readexactly(6), 10))
    assert kind == 2
    await reader.readexactly(length)
    return reader, writer


async def test_a_peer_that_reads_nothing_is_gone_at_the_deadline(issued: Certificates) -> None:
    recorder = DimseRecorder()
    limits = Limits(write_s=0.3, close_s=0.3)
    async with listening(recorder, lambda: context_of(issued), limits) as acceptor:
        _, writer = await opened(acceptor.tls_port, issued)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        echo = echo_request(1, VERIFICATION)
        asked = codec.data_header(3, len(echo), command=True, last=True) + echo
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while not recorder.ended:
                    writer.write(asked * 200)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await writer.drain()
        await until(lambda: bool(recorder.ended))
        assert [ended.kind for ended in recorder.ended] == ["timeout"]
        writer.transport.abort()
        await until(lambda: acceptor.connections == 0)


async def test_a_slow_sink_slows_its_sender(issued: Certificates) -> None:
    go_on = asyncio.Event()

    async def wait(_: StoreCommand) -> None:
        await go_on.wait()

    recorder = DimseRecorder(on_write=wait, keep=False)
    async with listening(recorder, lambda: context_of(issued)) as acceptor:
        _, writer = await opened(acceptor.tls_port, issued)
        store = store_request(1, CT, "1.2.3")
        writer.write(codec.data_header(1, len(store), command=True, last=True) + store)
        piece = codec.data_header(1, 2**16, command=False, last=False) + bytes(2**16)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 2**26:
                writer.write(piece)
                async with asyncio.timeout(1.0):
                    await writer.drain()
                sent += len(piece)
        assert sent < 2**24, "what waits is bounded: by the window, TLS's buffers, and the sockets'"
        go_on.set()
        async with asyncio.timeout(30):
            await writer.drain()
        writer.transport.abort()
