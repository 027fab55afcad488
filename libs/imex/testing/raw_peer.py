"""A DICOM peer that speaks PDUs, byte by byte as a test says, however wrong that is."""

import asyncio
import struct
from collections.abc import Sequence

from imex.dimse import pdu as codec
from imex.dimse.command import Command, Tag, decode, store_request
from imex.dimse.items import ProposedContext, UserIdentity, UserInformation

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
VERIFICATION, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"
STORE_CONTEXT, ECHO_CONTEXT = 1, 3
CONTEXTS = (
    ProposedContext(STORE_CONTEXT, CT, (EXPLICIT,)),
    ProposedContext(ECHO_CONTEXT, VERIFICATION, (IMPLICIT,)),
)
ANSWER_WITHIN_S = 10.0


class RawPeer:
    """One connection; `accepted` is the body of the A-ASSOCIATE-AC where there is one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.accepted = b""

    @classmethod
    async def connected(cls, port: int, *, address: str = "127.0.0.1") -> "RawPeer":
        """A connection from `address` on which nothing has been said."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))

    @classmethod
    async def associated(
        cls,
        port: int,
        *,
        calling_ae: str = "A",
        called_ae: str = "B",
        contexts: Sequence[ProposedContext] = CONTEXTS,
        window: tuple[int, int] | None = None,
        identity: UserIdentity | None = None,
        address: str = "127.0.0.1",
    ) -> "RawPeer":
        """An association; raises AssertionError where it is not accepted."""
        peer = await cls.connected(port, address=address)
        peer.request(
            calling_ae=calling_ae, called_ae=called_ae, contexts=contexts, window=window, identity=identity
        )
        kind, peer.accepted = await peer.pdu()
        assert kind == codec.PduType.ASSOCIATE_AC, (kind, peer.accepted)
        return peer

    def request(
        self,
        *,
        calling_ae: str,
        called_ae: str,
        contexts: Sequence[ProposedContext] = CONTEXTS,
        window: tuple[int, int] | None = None,
        identity: UserIdentity | None = None,
        before: bytes = b"",
    ) -> None:
        """An A-ASSOCIATE-RQ, behind other bytes where there are some."""
        information = UserInformation(16384, "1.2.3", async_window=window, user_identity=identity)
        request = codec.AssociateRequest(called_ae, calling_ae, tuple(contexts), information)
        self.writer.write(before + codec.encode_associate_request(request))

    async def pdu(self) -> tuple[int, bytes]:
        """The next PDU; (0, b"") when the connection is closed."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            try:
                kind, length = struct.unpack(">BxI", await self.reader.readexactly(6))
                return kind, await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0, b""

    def command(self, context_id: int, data: bytes) -> None:
        """A command set in one PDU."""
        self.writer.write(codec.data_header(context_id, len(data), command=True, last=True) + data)

    def data(self, context_id: int, data: bytes, *, last: bool) -> None:
        """A piece of a data set in one PDU."""
        self.writer.write(codec.data_header(context_id, len(data), command=False, last=last) + data)

    def store(self, message_id: int, instance: str, data: bytes) -> None:
        """A whole C-STORE request, `data` in PDUs of up to 64 KiB."""
        self.command(STORE_CONTEXT, store_request(message_id, CT, instance))
        for start in range(0, len(data), 65536):
            piece = data[start : start + 65536]
            self.data(STORE_CONTEXT, piece, last=start + 65536 >= len(data))

    async def response(self) -> Command:
        """The next response, in a PDU of its own."""
        kind, body = await self.pdu()
        assert kind == codec.PduType.DATA_TF, (kind, body)
        return decode(body[6:])

    async def answer(self) -> tuple[int, int, str | None]:
        """Message id, status and comment of the next response."""
        answer = await self.response()
        number = answer.require_number
        return (
            number(Tag.MESSAGE_ID_RESPONDED_TO),
            number(Tag.STATUS),
            answer.text(Tag.ERROR_COMMENT),
        )

    async def closed(self) -> bool:
        """Whether the other side closes the connection within the time that it has for an answer."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                return True
        return True
