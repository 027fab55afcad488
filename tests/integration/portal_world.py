"""A portal over a real PostgreSQL, with shares, studies and what else there is written into its tables."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import insert

from imex.db import Database
from imex.db.tables import delivery, routing, validation
from imex.events import decode
from imex.events.ids import share_id
from imex.observability.metrics import Metrics
from imex.portal.app import create_app
from imex.portal.auth import accounts, tokens
from imex.portal.context import Portal
from imex.portal.settings import PortalSettings
from imex.testing.dicom import SyntheticInstance
from imex.testing.storage import MemoryStore

NOW = datetime(2026, 3, 5, 14, 30, tzinfo=UTC)
PASSWORD = "a password for tests"
TOKENS = {name: f"imex_token-of-{name}-for-tests" for name in ("admin", "RQM", "RT3", "RXX")}
DIRECTORY = """
institutions:
  - code: RQM
    name: Hospital A
    kind: nhs
    senders: [{ae_title: RQM_PACS}]
  - code: RT3
    name: Hospital B
    kind: nhs
    endpoints: [{name: pacs, type: dicom, ae_title: RT3_PACS, host: 127.0.0.1, port: 4243}]
  - code: RXX
    name: Hospital C
    kind: nhs
    endpoints: [{name: pacs, type: dicom, ae_title: RXX_PACS, host: 127.0.0.1, port: 4244}]
agreements:
  - {id: a1, from: RQM, to: RT3, purposes: [direct-care], legal_basis: "UK GDPR 6(1)(e), 9(2)(h)"}
rules:
  - {id: r1, match: {source: RQM, modality: CT}, to: [RT3]}
"""


@dataclass
class World:
    """The portal, its database, and ways to write what the other services would have written."""

    database: Database
    store: MemoryStore
    app: FastAPI
    portal: Portal
    counter: int = field(default=0)

    def client(self, who: str | None = "admin") -> httpx2.AsyncClient:
        """A client of the API with the token of `who`."""
        headers = {"authorization": f"Bearer {TOKENS[who]}"} if who else {}
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app), base_url="http://portal.test", headers=headers
        )

    async def write(self, table: Any, *rows: dict[str, Any]) -> None:
        """Insert rows as their owner would."""
        async with self.database.engine.begin() as connection:
            for row in rows:
                await connection.execute(insert(table).values(**row))

    async def study(self, source: str = "RQM", **facts: Any) -> str:
        """A study that has come in; its UID."""
        self.counter += 1
        uid = facts.pop("study_uid", f"1.2.826.0.1.3680043.8.498.{self.counter}")
        row: dict[str, Any] = {
            "source": source,
            "study_uid": uid,
            "lane": "bulk",
            "modalities": ["CT"],
            "accession": f"ACC{self.counter:05}",
            "study_date": "20260305",
            "study_description": "CT HEAD",
            "received": 120,
            "validated": 120,
            "bytes": 63_200_000,
            "first_received_at": NOW + timedelta(minutes=self.counter),
            "last_activity_at": NOW + timedelta(minutes=self.counter, seconds=40),
            "seen_at": NOW,
            "topic": "validations.bulk",
            "partition": 0,
        }
        await self.write(routing.studies, row | facts)
        return str(uid)

    async def share(self, study_uid: str, source: str = "RQM", recipient: str = "RT3", **facts: Any) -> UUID:
        """A share of a study; its id."""
        self.counter += 1
        row: dict[str, Any] = {
            "id": share_id(source, study_uid, recipient, "direct-care", facts.get("episode", 1)),
            "source": source,
            "study_uid": study_uid,
            "recipient": recipient,
            "purpose": "direct-care",
            "episode": 1,
            "state": "delivered",
            "priority": "routine",
            "origin": "rule",
            "rule": "r1",
            "agreement": "a1",
            "legal_basis": "UK GDPR 6(1)(e), 9(2)(h)",
            "directory_version": "5f0c" * 16,
            "complete": True,
            "confirmed": 120,
            "created_at": NOW + timedelta(minutes=self.counter),
            "updated_at": NOW + timedelta(minutes=self.counter, seconds=50),
        }
        await self.write(routing.shares, row | facts)
        return UUID(str(row["id"]))

    async def step(
        self, share: UUID, step: str, seconds: float = 0, reason: str = "", **details: Any
    ) -> None:
        """A step of a share's timeline."""
        await self.write(
            routing.timeline,
            {
                "share": share,
                "cause": uuid4(),
                "step": step,
                "at": NOW + timedelta(seconds=seconds),
                "actor": details.pop("actor", "routing"),
                "reason": reason,
                "details": details,
            },
        )

    async def notice(self, study_uid: str, source: str = "RQM", **facts: Any) -> UUID:
        """Something that somebody should know of; its id."""
        row: dict[str, Any] = {
            "id": uuid4(),
            "kind": "stuck",
            "source": source,
            "study_uid": study_uid,
            "reason": "a record of validations.bulk could not be handled",
            "at": NOW + timedelta(minutes=self.counter),
        }
        await self.write(routing.notices, row | facts)
        return UUID(str((row | facts)["id"]))

    async def held(self, study_uid: str, source: str = "RQM", **facts: Any) -> UUID:
        """An instance in quarantine; the entry's id."""
        entry = uuid4()
        self.counter += 1
        sop_instance_uid = f"{study_uid}.1.{self.counter}"
        row: dict[str, Any] = {
            "id": entry,
            "source": source,
            "study_uid": study_uid,
            "sop_instance_uid": sop_instance_uid,
            "reason": "the NHS number's check digit is wrong",
            "evidence": [
                {"check": "nhs-number", "message": "the check digit (modulus 11) does not fit the number"}
            ],
            "releasable": True,
            "digest": "sha256:" + "0" * 64,
            "event_id": uuid4(),
            "event": b"{}",
            "object_key": f"{source}/2026-03-05/{entry}",
            "size": 526_000,
            "created_at": NOW + timedelta(minutes=self.counter),
        }
        await self.write(validation.quarantine, row | facts)
        await self.write(
            routing.held,
            {
                "quarantine": entry,
                "source": source,
                "study_uid": study_uid,
                "sop_instance_uid": sop_instance_uid,
                "reason": row["reason"],
                "state": facts.get("state", "waiting"),
                "received_at": NOW,
            },
        )
        return entry

    async def delivery(self, share: UUID, study_uid: str, **facts: Any) -> UUID:
        """A delivery of a share; its id."""
        identifier = uuid4()
        row: dict[str, Any] = {
            "id": identifier,
            "share": share,
            "source": "RQM",
            "study_uid": study_uid,
            "recipient": "RT3",
            "endpoint": "pacs",
            "lane": "bulk",
            "priority": "routine",
            "directory_version": "5f0c" * 16,
            "state": "waiting",
            "attempts": 3,
            "reason": "connection refused",
            "expires_at": NOW + timedelta(days=14),
        }
        await self.write(delivery.deliveries, row | facts)
        return identifier

    async def tested(self, **facts: Any) -> UUID:
        """A test of RT3's endpoint; its id."""
        row: dict[str, Any] = {
            "id": uuid4(),
            "recipient": "RT3",
            "endpoint": "pacs",
            "send": False,
            "actor": "sam",
            "state": "done",
            "outcome": "failed",
            "reason": "connection: 10.0.0.7:104 refuses connections",
        }
        await self.write(delivery.endpoint_tests, row | facts)
        return UUID(str((row | facts)["id"]))

    async def correction(self, study_uid: str, share: UUID, source: str = "RQM", **facts: Any) -> UUID:
        """A recall of a study, that concerns one share of it."""
        correction = uuid4()
        row = {
            "id": correction,
            "source": source,
            "study_uid": study_uid,
            "kind": "recall",
            "code": "113038",
            "whole": True,
            "reason": "another person's order",
            "actor": "anna",
            "actor_institution": source,
            "state": "open",
            "at": NOW,
            "note_uid": "2.25.4711",
            "note_sent_by": "imex",
        }
        await self.write(routing.corrections, row)
        concerned = {
            "correction": correction,
            "share": share,
            "recipient": "RT3",
            "state": "notified",
            "at": NOW,
        }
        await self.write(routing.corrected_shares, {**concerned, **facts})
        return correction

    async def lying(
        self, share: UUID, instances: Sequence[SyntheticInstance], *, recipient: str = "RT3", **facts: Any
    ) -> None:
        """Put instances of a share into an inbox."""
        at = facts.pop("at", NOW)
        await self.write(
            delivery.inbox_shares,
            {"share": share, "delivery": uuid4(), "recipient": recipient, "endpoint": "inbox", "at": at},
        )
        for one in instances:
            key = f"RQM/2026-03-05/{uuid4()}"
            await self.store.put(key, one.file())
            row = {
                "share": share,
                "sop_instance_uid": one.sop_instance_uid,
                "digest": one.digest,
                "given_sop_instance_uid": one.sop_instance_uid,
                "sop_class_uid": one.sop_class_uid,
                "transfer_syntax": one.transfer_syntax,
                "object_key": key,
                "own": False,
                "size": len(one.dataset),
                "given_digest": one.digest,
                "at": at,
            }
            await self.write(delivery.inbox_instances, row | facts)

    async def outbox(self, topic: str) -> list[Any]:
        """The events that wait in the portal's outbox for `topic`, oldest first."""
        o = self.database.common.outbox.c
        async with self.database.engine.connect() as connection:
            rows = await connection.execute(
                self.database.common.outbox.select().where(o.topic == topic).order_by(o.seq)
            )
            return [decode(bytes(row.value)) for row in rows]

    async def audited(self) -> list[Any]:
        """The data of the audit records so far."""
        return [event.data for event in await self.outbox("audit")]


@asynccontextmanager
async def world(database_url: str, command_wait_s: float = 0.2) -> AsyncIterator[World]:
    """A portal over a database that has been migrated, with everybody's tokens and two accounts."""
    database = Database(database_url, "portal")
    store = MemoryStore()
    portal = Portal(
        settings=PortalSettings(secret=SecretStr("a secret of more than 32 characters"), local=True),
        database=database,
        documents=store,
        metrics=Metrics("portal"),
        payloads=store,
        command_wait_s=command_wait_s,
    )
    made = World(database, store, create_app(portal), portal)
    async with database.unit() as unit:
        for name, token in TOKENS.items():
            institution = None if name == "admin" else name
            role = "admin" if institution is None else "institution"
            await tokens.ensure(unit.connection, token, institution, role, "tests")
        for username, institution, role, shown in (
            ("admin", None, "admin", "Network administrator"),
            ("rqm-sender", "RQM", "sender", "Robin Ash"),
            ("rt3-viewer", "RT3", "viewer", "Sam Reed"),
        ):
            await accounts.ensure(
                unit.connection, username, PASSWORD, institution=institution, role=role, display_name=shown
            )
    try:
        yield made
    finally:
        await database.close()


@asynccontextmanager
async def signed_in(portal: World, username: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser of somebody who has signed in."""
    transport = httpx2.ASGITransport(app=portal.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://portal.test") as browser:
        form = {
            "csrf": csrf_of(await browser.get("/")),
            "username": username,
            "password": PASSWORD,
            "next": "",
        }
        await browser.post("/sign-in", data=form)
        yield browser


def csrf_of(page: httpx2.Response) -> str:
    """What a form of the page has to send back."""
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]
