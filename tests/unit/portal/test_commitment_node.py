"""A sender's node that is told of a commitment, and sends without end instead of an answer."""

import pytest
from tests.unit.outbound.test_outbound_bounded import fragments, peer

from imex.dicom.commitment import Reference
from imex.directory.model import DicomEndpoint
from imex.portal.commitment.answering import Answer, NotTold
from imex.portal.commitment.node import SendersNodes


async def test_a_node_that_sends_without_end_was_not_told() -> None:
    nodes = SendersNodes()
    with peer(fragments) as (port, thread):
        node = DicomEndpoint(name="pacs", type="dicom", ae_title="PEER", host="127.0.0.1", port=port)
        with pytest.raises(NotTold):
            await nodes.tell(node, "IMEX", Answer("2.25.1", (Reference("1.2.3", "1.2.4"),), ()))
        thread.join(10)
        assert not thread.is_alive()
    nodes.close()
