"""pynetdicom, in this process and on threads of its own."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pynetdicom
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context

from imex.testing.dimse import Instance
from imex.testing.interop.dcmtk import PROPOSE
from imex.testing.interop.peer import Node, PeerFailed, PeerTls

_VERIFICATION = "1.2.840.10008.1.1"


def _context(purpose: ssl.Purpose, tls: PeerTls) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose, cafile=str(tls.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls.certificate, tls.key)
    return context


@contextmanager
def _association(node: Node, contexts: Sequence[tuple[str, str]]) -> Iterator[Any]:
    entity = AE(node.calling_ae)
    entity.requested_contexts = [build_context(abstract, syntax) for abstract, syntax in contexts]
    secured = None if node.tls is None else (_context(ssl.Purpose.SERVER_AUTH, node.tls), "localhost")
    association = entity.associate(node.host, node.port, ae_title=node.called_ae, tls_args=secured)
    if not association.is_established:
        raise PeerFailed("pynetdicom: association rejected, aborted or never connected")
    try:
        yield association
    finally:
        association.release()


class PynetdicomSender:
    """Its SCU, which encodes each data set anew from what pydicom read."""

    name = "pynetdicom"
    no_tls = ""
    encodes_anew = ""
    omits: Mapping[str, str] = {}

    def version(self) -> str:
        """pynetdicom's and pydicom's."""
        return f"pynetdicom {pynetdicom.__version__}"

    def echo(self, node: Node, folder: Path) -> None:
        """`send_c_echo`."""
        with _association(node, [(_VERIFICATION, "1.2.840.10008.1.2")]) as association:
            _succeed(association.send_c_echo())

    def send(self, files: Sequence[Path], node: Node, folder: Path) -> None:
        """`send_c_store` of each."""
        datasets = [pydicom.dcmread(path) for path in files]
        needed = sorted({(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in datasets})
        with _association(node, needed) as association:
            for dataset in datasets:
                _succeed(association.send_c_store(dataset))


def _succeed(answer: Any) -> None:
    if answer.get("Status") != 0x0000:
        raise PeerFailed(f"pynetdicom was answered {answer.get('Status')} {answer.get('ErrorComment', '')}")


@dataclass
class _Listening:
    port: int
    received: list[Instance] = field(default_factory=list)

    def instances(self) -> list[Instance]:
        return list(self.received)


class PynetdicomReceiver:
    """Its SCP."""

    name = "pynetdicom"
    omits: Mapping[str, str] = {}

    def version(self) -> str:
        """pynetdicom's."""
        return f"pynetdicom {pynetdicom.__version__}"

    @contextmanager
    def receiving(self, ae_title: str, folder: Path, tls: PeerTls | None) -> Iterator[_Listening]:
        """Takes every storage class in every transfer syntax that the matrix has."""
        listening = _Listening(0)

        def store(event: Any) -> int:
            request = event.request
            listening.received.append(
                Instance(
                    str(request.AffectedSOPClassUID),
                    str(request.AffectedSOPInstanceUID),
                    str(event.context.transfer_syntax),
                    request.DataSet.getvalue(),
                )
            )
            return 0x0000

        entity = AE(ae_title)
        entity.require_called_aet = True
        for context in AllStoragePresentationContexts:
            assert context.abstract_syntax is not None
            entity.add_supported_context(context.abstract_syntax, list(PROPOSE))
        entity.add_supported_context(_VERIFICATION)
        secured = None if tls is None else _context(ssl.Purpose.CLIENT_AUTH, tls)
        server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)], ssl_context=secured
        )
        assert server is not None
        listening.port = server.server_address[1]
        try:
            yield listening
        finally:
            server.shutdown()
