"""A listening port: on which addresses, and what becomes of it when the process runs out of descriptors."""

import asyncio
import errno
import socket

import pytest

from imex.dimse.listening import Listener
from imex.testing.runtime import until


class Taken:
    """Takes connections and closes them at the end of a test."""

    def __init__(self) -> None:
        self.peers: list[tuple[str, int]] = []
        self._connections: list[socket.socket] = []

    def __call__(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        assert not connection.getblocking()
        self.peers.append(peer)
        self._connections.append(connection)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


async def connected(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()


async def test_a_name_with_addresses_of_both_kinds_is_one_port_on_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
    ]

    async def resolved(*_: object, **__: object) -> object:
        return both

    loop = asyncio.get_running_loop()
    taken = Taken()
    listener = Listener(taken)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "getaddrinfo", resolved)
        try:
            await listener.listen("both", 0)
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    for host in ("127.0.0.1", "::1"):
        await connected(host, listener.port)
    await until(lambda: len(taken.peers) == 2)
    assert {host for host, _ in taken.peers} == {"127.0.0.1", "::1"}
    listener.stop()
    taken.close()


async def test_a_process_without_descriptors_takes_connections_again_when_it_has_some(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken = Taken()
    listener = Listener(taken)
    await listener.listen("127.0.0.1", 0)
    accept = socket.socket.accept
    failures = iter([errno.EMFILE, errno.ENFILE])

    def failing(self: socket.socket) -> tuple[socket.socket, object]:
        if (number := next(failures, None)) is not None:
            raise OSError(number, "no descriptor")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)
    await connected("127.0.0.1", listener.port)
    await until(lambda: len(taken.peers) == 1)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    listener.stop()
    taken.close()


async def test_a_process_without_descriptors_asks_for_room_to_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, asked = Taken(), []
    listener = Listener(taken, lambda: asked.append(True))
    await listener.listen("127.0.0.1", 0)
    accept = socket.socket.accept
    failures = iter([errno.EMFILE, errno.ENOBUFS])

    def failing(self: socket.socket) -> tuple[socket.socket, object]:
        if (number := next(failures, None)) is not None:
            raise OSError(number, "no descriptor")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)
    await connected("127.0.0.1", listener.port)
    await until(lambda: len(taken.peers) == 1)
    assert asked == [True], "for want of descriptors only"
    listener.stop()
    taken.close()


async def test_what_the_system_has_already_connected_is_taken_at_the_stop() -> None:
    taken = Taken()
    listener = Listener(taken)
    await listener.listen("127.0.0.1", 0)
    peers = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(5)]
    listener.stop()
    assert len(taken.peers) == 5
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port), timeout=5)
    for peer in peers:
        peer.close()
    taken.close()


async def test_a_port_in_use_is_an_error_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await Listener(Taken()).listen("127.0.0.1", port)
