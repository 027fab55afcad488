"""What a hostile or broken peer does to a DICOM port, one function each; they assert how they are answered.

All come from an address of their own, so that caps by address hit them and nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from imex.dimse import connect
from imex.dimse import pdu as codec
from imex.dimse.command import echo_request, store_request
from imex.testing.dicom import new_uid, synthetic_study
from imex.testing.raw_peer import CT, ECHO_CONTEXT, EXPLICIT, STORE_CONTEXT, VERIFICATION, RawPeer

ADDRESS: Final = "127.0.0.66"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
SILENT: Final = 500
HOLD_S: Final = 4.0
FLOOD_S: Final = 4.0
FLOOD_BYTES: Final = 400 * 1024 * 1024
ABORT: Final = codec.PduType.ABORT


@dataclass(frozen=True)
class Target:
    """A port, its TLS sibling, a sender that is known there, and one that is known at other addresses."""

    port: int
    tls_port: int
    calling_ae: str
    elsewhere: str | None = None
    called_ae: str = "IMEX"

    async def connected(self) -> RawPeer:
        """A connection on which nothing was said."""
        return await RawPeer.connected(self.port, address=ADDRESS)

    async def associated(self, *, window: tuple[int, int] | None = None) -> RawPeer:
        """An association of the known sender."""
        return await RawPeer.associated(
            self.port, calling_ae=self.calling_ae, called_ae=self.called_ae, window=window, address=ADDRESS
        )


Abuse = Callable[[Target], Awaitable[None]]


async def silent_on_the_plain_port(target: Target) -> None:
    """Hundreds of connections that say nothing."""
    await _silent(target.port, b"")


async def silent_on_the_tls_port(target: Target) -> None:
    """Hundreds of connections that begin no handshake."""
    await _silent(target.tls_port, b"")


async def stalled_handshakes(target: Target) -> None:
    """Hundreds of handshakes that are begun and not gone on with."""
    await _silent(target.tls_port, bytes.fromhex("1603010200010001fc0303"))


async def _silent(port: int, begin: bytes) -> None:
    peers = await asyncio.gather(*(_opened(port, begin) for _ in range(SILENT)))
    await asyncio.sleep(HOLD_S)
    for peer in peers:
        if peer is not None:
            peer.writer.close()


async def _opened(port: int, begin: bytes) -> RawPeer | None:
    with contextlib.suppress(ConnectionError):
        peer = await RawPeer.connected(port, address=ADDRESS)
        peer.writer.write(begin)
        return peer
    return None


async def a_pdu_of_4_gib(target: Target) -> None:
    """A PDU header that claims 4 GiB, before an association and on one, with data behind it."""
    for kind in (codec.PduType.ASSOCIATE_RQ, codec.PduType.DATA_TF):
        peer = await target.connected()
        await _flood(peer, struct.pack(">BxI", kind, 0xFFFFFFFF), bytes(1 << 20), 64 << 20)
        assert await _ended(peer)
    peer = await target.associated()
    await _flood(peer, struct.pack(">BxI", codec.PduType.DATA_TF, 0xFFFFFFFF), bytes(1 << 20), 64 << 20)
    assert await _ended(peer)


async def fragments_without_a_last_one(target: Target) -> None:
    """A data set that never ends."""
    peer = await target.associated()
    peer.command(STORE_CONTEXT, store_request(1, CT, new_uid()))
    piece = bytes(65536)
    block = (codec.data_header(STORE_CONTEXT, len(piece), command=False, last=False) + piece) * 16
    await _flood(peer, b"", block, FLOOD_BYTES)
    peer.writer.transport.abort()


async def a_command_without_end(target: Target) -> None:
    """A command set that never ends."""
    peer = await target.associated()
    piece = codec.data_header(STORE_CONTEXT, 1000, command=True, last=False) + bytes(1000)
    await _flood(peer, b"", piece * 1000, FLOOD_BYTES)
    assert await _ended(peer)


async def fragments_of_one_byte(target: Target) -> None:
    """Data sets, and commands behind them, in pieces that cost more than they carry."""

    async def one(*, command: bool, last: bool) -> None:
        peer = await target.associated(window=(0, 0))
        peer.command(STORE_CONTEXT, store_request(1, CT, new_uid()))
        if command:
            peer.data(STORE_CONTEXT, bytes(100), last=True)
        control = (1 if command else 0) | (2 if last else 0)
        piece = struct.pack(">IBBB", 3, STORE_CONTEXT, control, 0) * 4000
        block = (struct.pack(">BxI", codec.PduType.DATA_TF, len(piece)) + piece) * 8
        await _flood(peer, b"", block, 16 << 20)
        peer.writer.transport.abort()

    kinds = [(False, False), (True, True), (True, False)] * 5
    await asyncio.gather(*(one(command=command, last=last) for command, last in kinds))


async def data_without_any(target: Target) -> None:
    """PDUs and fragments with nothing in them."""
    empty = struct.pack(">BxI", codec.PduType.DATA_TF, 0)
    for piece in (empty, codec.data_header(STORE_CONTEXT, 0, command=False, last=False)):
        peer = await target.associated()
        peer.command(STORE_CONTEXT, store_request(1, CT, new_uid()))
        await _flood(peer, b"", piece * 10_000, FLOOD_BYTES)
        assert await _ended(peer)


async def deflate_bomb(target: Target) -> None:
    """A data set of megabytes that inflates to gigabytes, several times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 2**31)
    data = packer.compress(_element(0x0020, 0x000D, b"UI", new_uid()) + pixels)
    data += packer.flush(zlib.Z_FULL_FLUSH)
    # nothing refers to what is before a full flush, so that one block can be had as often as wanted
    data += (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * 2048
    data += packer.flush()
    await asyncio.gather(*(_store(target, DEFLATED, data) for _ in range(4)))


async def nested_sequences(target: Target) -> None:
    """Sequences nested 200 deep, in the header and by the thousand."""
    opened = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    uid = _element(0x0020, 0x000D, b"UI", new_uid())
    for depth in (200, 100_000):
        await _store(target, EXPLICIT, uid + (opened + item) * depth)


async def ten_thousand_sub_items(target: Target) -> None:
    """An A-ASSOCIATE-RQ with 10,000 sub-items, in a presentation context and in the user information."""
    syntax = struct.pack(">BxH", 0x40, 17) + b"1.2.840.10008.1.2"
    abstract = struct.pack(">BxH", 0x30, len(CT)) + CT.encode()
    context = bytes((1, 0, 0, 0)) + abstract + syntax * 3000
    fields = struct.pack(
        ">H2x16s16s32x", 1, target.called_ae.encode().ljust(16), target.calling_ae.encode().ljust(16)
    )
    bodies = (
        fields + (struct.pack(">BxH", 0x20, len(context)) + context) * 4,
        fields + struct.pack(">BxH", 0x50, 40_000) + struct.pack(">BxH", 0x99, 0) * 10_000,
        fields + struct.pack(">BxH", 0x20, 0) * 10_000,
    )
    for body in bodies:
        peer = await target.connected()
        peer.writer.write(struct.pack(">BxI", codec.PduType.ASSOCIATE_RQ, len(body)) + body)
        assert await _ended(peer)


async def opened_and_dropped(target: Target) -> None:
    """Associations opened and dropped, one after the other, on several connections at a time."""
    until = time.monotonic() + FLOOD_S

    async def again_and_again() -> None:
        while time.monotonic() < until:
            peer = await target.associated()
            peer.writer.transport.abort()

    await asyncio.gather(*(again_and_again() for _ in range(8)))


async def responses_that_nobody_reads(target: Target) -> None:
    """C-ECHO after C-ECHO, and no answer read."""

    async def one() -> None:
        peer = await target.associated()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        request = echo_request(1, VERIFICATION)
        echo = codec.data_header(ECHO_CONTEXT, len(request), command=True, last=True) + request
        await _flood(peer, b"", echo * 500, FLOOD_BYTES)
        peer.writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(20)))


async def half_closed(target: Target) -> None:
    """Connections of which one half is closed: at once, on an association, in a data set."""

    async def one(kind: int) -> None:
        peer = await (target.connected() if kind == 0 else target.associated())
        if kind == 2:
            peer.command(STORE_CONTEXT, store_request(1, CT, new_uid()))
            peer.data(STORE_CONTEXT, bytes(10_000), last=False)
        peer.writer.write_eof()
        assert await peer.closed()
        peer.writer.close()

    await asyncio.gather(*(one(number % 3) for number in range(90)))


async def forged_proxy_header(target: Target) -> None:
    """PROXY headers from somebody who is no load balancer, in the name of an address that is trusted."""
    address = bytes((10, 0, 0, 1, 10, 0, 0, 2)) + struct.pack(">HH", 4711, target.port)
    header = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", 0x21, 0x11, len(address)) + address
    text = b"PROXY TCP4 10.0.0.1 10.0.0.2 4711 104\r\n"
    for port in (target.port, target.tls_port):
        for forged in (header, text, header[:10], header[:14] + b"\xff\xff" + bytes(60_000)):
            peer = await RawPeer.connected(port, address=ADDRESS)
            peer.request(calling_ae=target.elsewhere or target.calling_ae, called_ae="IMEX", before=forged)
            kind, _ = await peer.pdu()
            assert kind != codec.PduType.ASSOCIATE_AC
            peer.writer.close()


ABUSES: Final[Sequence[Abuse]] = (
    silent_on_the_plain_port,
    silent_on_the_tls_port,
    stalled_handshakes,
    a_pdu_of_4_gib,
    fragments_without_a_last_one,
    a_command_without_end,
    fragments_of_one_byte,
    data_without_any,
    deflate_bomb,
    nested_sequences,
    ten_thousand_sub_items,
    opened_and_dropped,
    responses_that_nobody_reads,
    half_closed,
    forged_proxy_header,
)


async def _flood(peer: RawPeer, begin: bytes, block: bytes, most: int) -> None:
    """Send until the other side ends it, reads no more, or there was enough."""
    until = time.monotonic() + FLOOD_S
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        peer.writer.write(begin)
        while sent < most and time.monotonic() < until:
            peer.writer.write(block)
            sent += len(block)
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + FLOOD_S):
                await peer.writer.drain()


async def _ended(peer: RawPeer) -> bool:
    """Whether the answer is an A-ABORT, or the connection is gone: a reset may overtake the A-ABORT."""
    ended = (await peer.pdu())[0] in (ABORT, 0)
    peer.writer.transport.abort()
    return ended


async def _store(target: Target, transfer_syntax: str, data: bytes) -> None:
    """Send what is to be kept for a person to look at: it is taken."""

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    contexts = [(CT, [transfer_syntax])]
    called, calling = target.called_ae, target.calling_ae
    async with connect("127.0.0.1", target.port, calling, called, contexts) as association:
        answer = await association.store(CT, new_uid(), transfer_syntax, chunks(), len(data))
    assert answer.status == 0, answer


async def legitimate_store(target: Target) -> None:
    """One CT slice as a good sender sends it."""
    instance = synthetic_study(1, size=64).instances[0]
    await _store(target, instance.transfer_syntax, instance.dataset)


def _element(group: int, element: int, vr: bytes, value: str) -> bytes:
    encoded = value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(encoded)) + encoded
