"""The recipient of a de-identified share is not shown how its source knows the study."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.portal_world import NOW, World, world

from imex.db.tables import audit, delivery, routing
from imex.events.audit import Actor, AuditRecordedData
from imex.events.shares import ShareDelivered, ShareDeliveredPayload

STUDY = "1.2.826.0.1.77"
GIVEN = "2.25.99"


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        made.portal.command_wait_s = 0
        yield made


async def de_identified(portal: World, *, left: bool = True) -> UUID:
    """A share whose agreement lets nothing leave as it is, with all that tells of it."""
    await portal.study(study_uid=STUDY, accession="A0815")
    share = await portal.share(STUDY, deidentified=True, state="requested" if not left else "delivered")
    await portal.delivery(share, STUDY)
    await portal.notice(STUDY, share=share, recipient="RT3", kind="escalated")
    if left:
        await portal.write(
            delivery.releases,
            {"project": "p1", "recipient": "RT3", "source": "RQM", "study_uid": STUDY,
             "given_study_uid": GIVEN, "pseudonym": "P", "sealed": {}},
        )  # fmt: skip
        await portal.write(
            delivery.receipts,
            {"delivery": uuid4(), "revision": 1, "share": share, "document": {"instances": []},
             "signature": "s", "digest": "sha256:1"},
        )  # fmt: skip
    event = ShareDelivered.of(
        id=uuid4(),
        subject=f"share/{share}",
        time=NOW,
        data=ShareDeliveredPayload(
            source="RQM", study_uid=STUDY, share=share, recipient="RT3", state="delivered",
            priority="routine", purpose="direct-care", sequence=1, receipt_digest="sha256:1", revision=1,
        ),
    )  # fmt: skip
    await portal.write(
        routing.common.outbox,
        {"topic": "shares", "key": "k", "value": event.encode(), "headers": {}, "cursor": 1},
    )
    return share


PATHS = (
    "/shares",
    "/shares/{share}",
    "/deliveries",
    "/notices",
    "/events",
    "/studies",
    f"/find?identifier={STUDY}",
    "/find?identifier=A0815",
    f"/shares?study_uid={STUDY}",
    "/shares?accession=A0815",
)


async def test_the_recipient_is_not_told_of_which_study_it_gets_nothing(portal: World) -> None:
    await portal.study(study_uid=STUDY, accession="A0815")
    share = await portal.share(STUDY, agreement=None, state="refused")
    async with portal.client("RT3") as api:
        for path in PATHS:
            told = json.dumps(_without_request((await api.get("/api/v1" + path.format(share=share))).json()))
            assert STUDY not in told and "A0815" not in told, path
    async with portal.client("RQM") as api:
        assert (await api.get(f"/api/v1/shares/{share}")).json()["study_uid"] == STUDY


@pytest.mark.parametrize("left", [True, False])
async def test_the_recipient_learns_nothing(portal: World, left: bool) -> None:
    share = await de_identified(portal, left=left)
    async with portal.client("RT3") as api:
        for path in PATHS:
            answer = await api.get("/api/v1" + path.format(share=share))
            told = json.dumps(_without_request(answer.json()))
            assert STUDY not in told and "A0815" not in told, path
        known = (await api.get(f"/api/v1/shares/{share}")).json()["study_uid"]
        assert known == (GIVEN if left else "")
        assert (await api.get(f"/api/v1/shares/{share}/receipt")).status_code == 404
        if left:
            found = (await api.get("/api/v1/shares", params={"study_uid": GIVEN})).json()["items"]
            assert [one["id"] for one in found] == [str(share)]


def _without_request(answer: Any) -> Any:
    """What was asked for may be said again."""
    return {name: value for name, value in answer.items() if name not in ("detail", "identifier", "query")}


async def test_the_audit_export_names_it_as_the_recipient_knows_it(portal: World) -> None:
    share = await de_identified(portal)
    document = AuditRecordedData(
        action="share_delivered", outcome="success", actor=Actor(kind="service", id="routing"),
        study_uid=STUDY, source="RQM", recipient="RT3", share=share,
    )  # fmt: skip
    body = {"id": str(uuid4()), "time": NOW.isoformat(), "recorded_by": "/imex/routing"}
    await portal.write(
        audit.records,
        {"partition": 0, "sequence": 1, "event_id": uuid4(), "at": NOW, "action": "share_delivered",
         "institutions": ["RQM", "RT3"], "study_uid": STUDY, "share": share, "previous": b"", "hash": b"",
         "body": json.dumps({**body, "data": document.model_dump(mode="json")})},
    )  # fmt: skip
    for who, uid in (("RT3", GIVEN), ("RQM", STUDY)):
        async with portal.client(who) as api:
            exported = (await api.get("/api/v1/audit/export")).text
        assert uid in exported
        assert (STUDY in exported) is (who == "RQM")


async def test_source_and_administration_see_it_as_it_is(portal: World) -> None:
    share = await de_identified(portal)
    for who in ("RQM", "admin"):
        async with portal.client(who) as api:
            assert (await api.get(f"/api/v1/shares/{share}")).json()["study_uid"] == STUDY
            assert (await api.get("/api/v1/events")).json()["items"][0]["data"]["study_uid"] == STUDY
            assert (await api.get(f"/api/v1/shares/{share}/receipt")).status_code == 200


async def test_the_recipients_decision_reaches_the_share(portal: World) -> None:
    share = await de_identified(portal, left=False)
    async with portal.client("RT3") as api:
        assert (await api.post(f"/api/v1/shares/{share}/accept")).status_code == 202
    [command] = await portal.outbox("commands")
    assert command.data.study_uid == STUDY
