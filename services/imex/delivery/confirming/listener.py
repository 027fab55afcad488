"""Takes the reports of storage commitments that destinations bring on associations of their own.

A small SCP with pynetdicom, in threads: it takes N-EVENT-REPORT and C-ECHO and nothing else. Whoever reports
has to name a transaction that was asked for, whose UID nobody can guess.
"""

import asyncio
import logging
from concurrent.futures import TimeoutError as Late
from typing import Any, Final

from imex.delivery.confirming.commitment import Commitments
from imex.dicom.commitment import PUSH_MODEL, report_of
from imex.dimse.sop_classes import VERIFICATION
from imex.runtime.health import Health

log = logging.getLogger(__name__)

_MOST_ASSOCIATIONS: Final = 10
_MOST_PDU_BYTES: Final = 4 << 20
_ACSE_S: Final = 10.0
_NETWORK_S: Final = 30.0
_WRITE_S: Final = 20.0


class CommitmentListener:
    """A component: listens while the service runs."""

    name = "storage commitment reports"

    def __init__(self, commitments: Commitments, host: str, port: int, ae_title: str) -> None:
        """`port` 0 is any free one."""
        self._commitments = commitments
        self._address = (host, port)
        self._ae_title = ae_title
        self._server: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def port(self) -> int:
        """The one on which it listens; 0 while it does not."""
        return int(self._server.server_address[1]) if self._server is not None else 0

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.to_thread(self._listen)

    async def stop(self) -> None:
        """End all associations."""
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server = None

    def health(self) -> Health:
        """Nothing depends on it: what is not reported is asked for."""
        return Health(live=True, detail="")

    def _listen(self) -> Any:
        from pynetdicom import AE, evt

        entity = AE(ae_title=self._ae_title)
        entity.maximum_associations = _MOST_ASSOCIATIONS
        entity.acse_timeout = _ACSE_S
        entity.dimse_timeout = entity.network_timeout = _NETWORK_S
        # the peer is the SCP: it may say so, or leave it unsaid
        entity.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
        entity.add_supported_context(VERIFICATION)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._reported), (evt.EVT_CONN_OPEN, _bound)]
        return entity.start_server(self._address, block=False, evt_handlers=handlers)

    def _reported(self, event: Any) -> tuple[int, None]:
        try:
            report = report_of(event.event_information)
        except Exception:  # noqa: BLE001  whatever a peer may send
            return 0x0110, None
        if report is None:
            return 0x0115, None
        assert self._loop is not None
        taking = asyncio.run_coroutine_threadsafe(self._commitments.take(report), self._loop)
        try:
            known = taking.result(_WRITE_S)
        except (Exception, Late) as error:  # noqa: BLE001  the peer is to bring it again
            taking.cancel()
            log.warning("a storage commitment could not be written down: %s", type(error).__name__)
            return 0x0110, None
        return (0x0000 if known else 0x0115), None


def _bound(event: Any) -> None:
    """No peer makes this side take in more than a report needs: a PDU's length is only what it claims."""
    connection = event.assoc.dul.socket
    receive = connection.recv

    def bounded(nr_bytes: int) -> bytearray:
        if nr_bytes > _MOST_PDU_BYTES:
            connection.close()
            raise OSError("a PDU that is too long")
        received: bytearray = receive(nr_bytes)
        return received

    connection.recv = bounded
