"""The portal's ports for queries over DICOM, and clients of them: DCMTK's tools and pynetdicom."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI
from pydantic import SecretStr
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)
from sqlalchemy import text
from tests.integration.portal_world import DIRECTORY, World
from tests.integration.test_dicomweb_reading import apply

from imex.db import Database
from imex.db.tables import routing
from imex.db.tables.directory import versions
from imex.observability.metrics import Metrics
from imex.portal.context import Portal
from imex.portal.query_retrieve.listener import DicomListener
from imex.portal.query_retrieve.settings import DicomSettings
from imex.portal.settings import PortalSettings
from imex.testing.storage import MemoryStore

FIND = StudyRootQueryRetrieveInformationModelFind
MOVE = StudyRootQueryRetrieveInformationModelMove
GET = StudyRootQueryRetrieveInformationModelGet
EXPLICIT = "1.2.840.10008.1.2.1"
SUCCESS = "DIMSE Status                  : 0x0000"


def directory(port: int = 4243, **pacs: Any) -> str:
    """The world's, with senders for who pulls and the port of RT3's node."""
    made = yaml.safe_load(DIRECTORY)
    rqm, rt3, rxx = made["institutions"]
    rqm["senders"] = [{"ae_title": "RQM_PACS"}]
    rt3["senders"] = [{"ae_title": "RT3_PACS"}]
    rxx["senders"] = [{"ae_title": "RXX_PACS"}]
    rt3["endpoints"][0] |= {"port": port, **pacs}
    return str(yaml.safe_dump(made))


@asynccontextmanager
async def emptied(database_url: str) -> AsyncIterator[World]:
    """A portal without pages and accounts, over a database in which nothing of other tests is left."""
    database, store = Database(database_url, "portal"), MemoryStore()
    tables = {
        f"{table.schema}.{table.name}"
        for metadata in (routing.metadata, versions.metadata, database.common.outbox.metadata)
        for table in metadata.sorted_tables
    }
    portal = Portal(
        settings=PortalSettings(secret=SecretStr("a secret of more than 32 characters"), local=True),
        database=database,
        documents=store,
        metrics=Metrics("portal"),
        payloads=store,
    )
    made = World(database, store, FastAPI(), portal)
    try:
        async with database.engine.begin() as connection:
            await connection.execute(text(f"TRUNCATE {', '.join(sorted(tables))} CASCADE"))
        await apply(made, directory())
        yield made
    finally:
        await database.close()


@asynccontextmanager
async def listening(portal: World, **settings: Any) -> AsyncIterator[DicomListener]:
    listener = DicomListener(portal.portal, DicomSettings(host="127.0.0.1", **{"port": 0} | settings))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def run(*command: str | Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


async def dcmtk(tool: str, listener: DicomListener, *options: str | Path, calling: str = "RT3_PACS") -> str:
    """What one of DCMTK's query tools says."""
    titles = ("-aet", calling, "-aec", "IMEX", "127.0.0.1", str(listener.port))
    _, said = await run(tool, "-d", "-S", *options, *titles)
    return said


def keys(*names: str) -> list[str]:
    return [part for name in names for part in ("-k", name)]


async def study_uids(listener: DicomListener, *names: str, calling: str = "RT3_PACS") -> list[str]:
    said = await dcmtk(
        "findscu",
        listener,
        *keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID", *names),
        calling=calling,
    )
    assert SUCCESS in said, said
    responses = said.split("Response Identifiers:")[1:]
    found = [re.search(r"\(0020,000d\) UI \[([0-9.]+)", one) for one in responses]
    return [match[1] for match in found if match]


def ask(
    port: int, model: str, level: str, calling: str = "RT3_PACS", **identifier: Any
) -> list[tuple[int, str, Dataset | None, tuple[int | None, ...]]]:
    """Responses by pynetdicom: status, comment, identifier, counts; blocking."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(model)
    roles: list[Any] = []
    if model == GET:
        entity.add_requested_context(CTImageStorage, [identifier.pop("syntax", EXPLICIT)])
        roles = [build_role(CTImageStorage, scp_role=True)]
    got: list[Dataset] = identifier.pop("got", [])
    answer = identifier.pop("answer", 0x0000)
    cancel_after = identifier.pop("cancel_after", None)
    destination = identifier.pop("to", "RT3_PACS")

    def keep(event: Any) -> int:
        got.append(event.dataset)
        return int(answer)

    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for name, value in identifier.items():
        setattr(asked, name, value)
    handlers: list[Any] = [(evt.EVT_C_STORE, keep)]
    association = entity.associate("127.0.0.1", port, ae_title="IMEX", ext_neg=roles, evt_handlers=handlers)
    assert association.is_established
    try:
        if model == FIND:
            responses = association.send_c_find(asked, model, msg_id=9)
        elif model == MOVE:
            responses = association.send_c_move(asked, destination, model, msg_id=9)
        else:
            responses = association.send_c_get(asked, model, msg_id=9)
        heard = []
        for status, found in responses:
            counts = tuple(
                getattr(status, f"NumberOf{name}Suboperations", None)
                for name in ("Remaining", "Completed", "Failed", "Warning")
            )
            heard.append((int(status.Status), str(status.get("ErrorComment", "")), found, counts))
            if cancel_after is not None and len(heard) == cancel_after:
                association.send_c_cancel(9, query_model=model)
        return heard
    finally:
        association.release()


async def asked(listener: DicomListener, *arguments: Any, **identifier: Any) -> Any:
    return await asyncio.to_thread(ask, listener.port, *arguments, **identifier)
