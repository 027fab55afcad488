"""Behind a load balancer: the sender that the PROXY header names is whom networks and audit are about."""

import asyncio
import ipaddress
import struct
from typing import Any

import pytest

from imex.dimse import pdu
from imex.dimse.items import ProposedContext, UserInformation
from imex.dimse.proxy import SIGNATURE
from imex.ingest.adapters import CountingObserver, DicomServer
from imex.ingest.handler import IngestPolicy
from imex.ingest.settings import DicomSettings

REQUEST = pdu.encode_associate_request(
    pdu.AssociateRequest(
        "IMEX",
        "RT3_PACS",
        (ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),),
        UserInformation(16384, "1.2.3"),
    )
)
ACCEPTED, REJECTED = 2, 3


def from_there(address: str) -> bytes:
    packed = ipaddress.ip_address(address).packed
    return SIGNATURE + b"\x21\x11\x00\x0c" + packed + bytes(4) + struct.pack("!HH", 50123, 11112)


@pytest.mark.parametrize(("address", "answer"), [("10.1.2.3", ACCEPTED), ("192.0.2.7", REJECTED)])
async def test_networks_and_audit_are_about_the_proxied_address(
    world: Any, address: str, answer: int
) -> None:
    settings = DicomSettings.model_validate({"host": "127.0.0.1", "port": 0, "proxy_networks": "127.0.0.0/8"})
    observer = CountingObserver(world.around.meters)
    server = DicomServer(settings, IngestPolicy(world.around), observer, drain_s=0.1)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(from_there(address) + REQUEST)
    assert (await asyncio.wait_for(reader.readexactly(1), 10))[0] == answer
    writer.transport.abort()
    await server.stop()
    addresses = [record.personal["address"] for record in world.audits]
    assert addresses == ([address] if answer == REJECTED else [])
