"""An archive with pynetdicom that stores, is queried, and commits, as a test says."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
)


@dataclass
class Archive:
    """What it has, and how it behaves."""

    title: str = "RT3_PACS"
    keeps: Callable[[str], bool] = lambda _: True
    """Whether it keeps an instance that it has answered with success."""
    commits: bool = True
    finds: bool = True
    reports: str = "same"
    """Where reports of commitments go: `same` association, a `new` one, or `never`."""
    report_to: int = 0
    held: dict[str, tuple[str, str]] = field(default_factory=dict)
    """SOP Instance UID to those of its study and series."""
    stores: list[str] = field(default_factory=list)
    finds_asked: int = 0
    transactions: list[str] = field(default_factory=list)
    report_statuses: list[int] = field(default_factory=list)
    port: int = 0

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        uid = str(dataset.SOPInstanceUID)
        self.stores.append(uid)
        if self.keeps(uid):
            self.held[uid] = (str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID))
        return 0x0000

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.finds_asked += 1
        query = event.identifier
        matching = {uid: at for uid, at in self.held.items() if at[0] == query.StudyInstanceUID}
        if query.QueryRetrieveLevel == "SERIES":
            for series in sorted({at[1] for at in matching.values()}):
                yield 0xFF00, _identifier("SeriesInstanceUID", series)
        else:
            for uid, at in sorted(matching.items()):
                if at[1] == query.SeriesInstanceUID:
                    yield 0xFF00, _identifier("SOPInstanceUID", uid)

    def _action(self, event: Any) -> tuple[int, None]:
        asked = event.action_information
        self.transactions.append(str(asked.TransactionUID))
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        items = list(asked.ReferencedSOPSequence)
        report.ReferencedSOPSequence = [one for one in items if one.ReferencedSOPInstanceUID in self.held]
        lacking = [one for one in items if one.ReferencedSOPInstanceUID not in self.held]
        for one in lacking:
            one.FailureReason = 0x0112
        if lacking:
            report.FailedSOPSequence = lacking
        if self.reports != "never":
            threading.Timer(0.05, self._report, (event.assoc, report, 2 if lacking else 1)).start()
        return 0x0000, None

    def _report(self, association: Any, report: Dataset, kind: int) -> None:
        if self.reports == "new":
            entity = AE(self.title)
            entity.add_requested_context(StorageCommitmentPushModel)
            association = entity.associate("127.0.0.1", self.report_to, ae_title="IMEX")
        status, _ = association.send_n_event_report(
            report, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        self.report_statuses.append(int(status.Status) if status else -1)
        if self.reports == "new":
            association.release()


@contextmanager
def archive(behaves: Archive) -> Iterator[Archive]:
    """It listens on a free port of loopback while the block runs."""
    entity = AE(behaves.title)
    entity.supported_contexts = AllStoragePresentationContexts
    if behaves.finds:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    if behaves.commits:
        entity.add_supported_context(StorageCommitmentPushModel)
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[
            (evt.EVT_C_STORE, behaves._store),
            (evt.EVT_C_FIND, behaves._find),
            (evt.EVT_N_ACTION, behaves._action),
        ],
    )
    assert server is not None
    behaves.port = server.server_address[1]
    try:
        yield behaves
    finally:
        server.shutdown()


def _identifier(name: str, uid: str) -> Dataset:
    found = Dataset()
    setattr(found, name, uid)
    return found
