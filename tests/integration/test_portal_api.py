"""The API over a real PostgreSQL: shares, timelines, receipts, finding, the feed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.integration.portal_world import NOW, World, world

from imex.db.tables import delivery, routing
from imex.events.ids import trace_id_hex
from imex.events.shares import ShareDelivered, ShareDeliveredPayload


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        yield made


async def test_a_share_says_what_the_interface_promises(portal: World) -> None:
    study = await portal.study(received=120, validated=117, waiting=3)
    share = await portal.share(study, state="partial", confirmed=116, failed=1, reason="3 wait in quarantine")
    async with portal.client("RQM") as api:
        answer = await api.get(f"/api/v1/shares/{share}")
    assert answer.status_code == 200
    body = answer.json()
    assert body["instances"] == {
        "expected": 120,
        "received": 120,
        "validated": 117,
        "quarantined": 3,
        "delivered": 116,
        "failed": 1,
    }
    assert body["trace_id"] == trace_id_hex("RQM", study)
    assert body["state"] == "partial"
    assert set(body) == {
        "id", "study_uid", "source", "recipient", "purpose", "legal_basis", "agreement", "rule",
        "directory_version", "priority", "state", "reason", "instances", "bytes", "created_at",
        "updated_at", "trace_id",
        # beyond the interface
        "origin", "clinician", "controllers", "processors", "alternate_of", "first_image_at", "last_image_at",
        "escalated_at", "legal_hold", "retain_days", "images_deleted_at",
    }  # fmt: skip


async def test_while_collecting_nobody_knows_how_many_to_expect(portal: World) -> None:
    study = await portal.study()
    share = await portal.share(study, state="collecting", complete=False, confirmed=0)
    async with portal.client() as api:
        body = (await api.get(f"/api/v1/shares/{share}")).json()
    assert body["instances"]["expected"] is None


async def test_a_share_of_a_study_that_has_not_come_in_counts_nothing(portal: World) -> None:
    share = await portal.share("1.2.3", state="accepted", complete=False, confirmed=0)
    async with portal.client() as api:
        body = (await api.get(f"/api/v1/shares/{share}")).json()
    assert body["instances"]["received"] == 0
    assert body["bytes"] == 0


async def test_lists_are_paged_without_losing_or_repeating(portal: World) -> None:
    study = await portal.study()
    made = [str(await portal.share(study, episode=n)) for n in range(1, 8)]
    seen: list[str] = []
    after: dict[str, str] = {}
    async with portal.client() as api:
        while True:
            page = (await api.get("/api/v1/shares", params={"limit": "3", **after})).json()
            seen += [item["id"] for item in page["items"]]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
    assert seen == made[::-1]


async def test_filters_narrow_the_list(portal: World) -> None:
    first = await portal.study(accession="A1")
    second = await portal.study(accession="A2")
    one = str(await portal.share(first, state="failed"))
    two = str(await portal.share(second))
    async with portal.client() as api:

        async def ids(**params: str) -> list[str]:
            items = (await api.get("/api/v1/shares", params=params)).json()["items"]
            return [item["id"] for item in items]

        assert await ids(study_uid=first) == [one]
        assert await ids(accession="A2") == [two]
        assert await ids(state="failed") == [one]
        assert await ids(q=two) == [two]
        assert await ids(q=trace_id_hex("RQM", first)) == [one]
        assert await ids(state="expired") == []


async def test_what_a_list_does_not_know_is_an_error(portal: World) -> None:
    queries = (
        "state=nonsense", "state=", "stat=failed", "limit=0", "limit=1001", "limit=many", "after=bogus",
        "state=failed&state=delivered", "study_uid=",
    )  # fmt: skip
    async with portal.client() as api:
        for query in queries:
            answer = await api.get(f"/api/v1/shares?{query}")
            assert answer.status_code in {400, 422}, query
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code


async def test_a_timeline_is_in_order_and_says_who_and_why(portal: World) -> None:
    share = await portal.share(await portal.study())
    for second, step in enumerate(("received", "accepted", "attempted", "delivered")):
        await portal.step(share, step, second, reason="connection refused" if step == "attempted" else "")
    async with portal.client() as api:
        page = (await api.get(f"/api/v1/shares/{share}/timeline", params={"limit": "3"})).json()
        rest = (await api.get(f"/api/v1/shares/{share}/timeline", params={"after": page["next"]})).json()
    assert [one["step"] for one in page["items"]] == ["received", "accepted", "attempted"]
    assert page["items"][2]["reason"] == "connection refused"
    assert [one["step"] for one in rest["items"]] == ["delivered"]
    assert rest["next"] is None


async def test_a_receipt_is_passed_on_as_it_was_signed(portal: World) -> None:
    study = await portal.study()
    share = await portal.share(study)
    document = {
        "share": str(share),
        "revision": 2,
        "destination": {"institution": "RT3", "endpoint": "pacs"},
        "instances": [
            {
                "sop_instance_uid": f"{study}.1",
                "digest": "sha256:ab",
                "status": "delivered",
                "reason": "",
                "at": "2026-03-05T14:30:00Z",
            }
        ],
        "complete": True,
    }
    for revision in (1, 2):
        await portal.write(
            delivery.receipts,
            {
                "delivery": uuid4(),
                "revision": revision,
                "share": share,
                "document": document | {"revision": revision},
                "signature": f"jws{revision}",
                "digest": "sha256:cd",
                "at": NOW + timedelta(seconds=revision),
            },
        )
    async with portal.client() as api:
        assert (await api.get(f"/api/v1/shares/{share}/receipt")).json() == document | {"signature": "jws2"}
        # what was signed is passed on as it is: whatever is added beside it breaks the signature
        await portal.held(study, state="discarded")
        assert (await api.get(f"/api/v1/shares/{share}/receipt")).json() == document | {"signature": "jws2"}


async def test_without_a_receipt_it_is_404(portal: World) -> None:
    share = await portal.share(await portal.study(), state="collecting")
    async with portal.client() as api:
        assert (await api.get(f"/api/v1/shares/{share}/receipt")).status_code == 404


async def test_find_knows_every_kind_of_number(portal: World) -> None:
    study = await portal.study(accession="ACC-77")
    share = str(await portal.share(study))
    await portal.share(await portal.study())
    async with portal.client("RQM") as api:
        for identifier in (study, "ACC-77", share, trace_id_hex("RQM", study)):
            found = (await api.get("/api/v1/find", params={"identifier": identifier})).json()
            assert [one["id"] for one in found["shares"]] == [share]
            assert [one["study_uid"] for one in found["studies"]] == [study]
        assert (await api.get("/api/v1/find")).status_code == 422
        nothing = (await api.get("/api/v1/find", params={"identifier": "nothing"})).json()
    assert nothing == {"studies": [], "shares": []}


async def test_unaddressed_studies_are_listed_to_their_sender(portal: World) -> None:
    lonely = await portal.study(expires_at=NOW + timedelta(days=14))
    await portal.share(await portal.study())
    async with portal.client("RQM") as api:
        page = (await api.get("/api/v1/studies", params={"unaddressed": "true"})).json()
        assert [one["study_uid"] for one in page["items"]] == [lonely]
        assert page["items"][0]["expires_at"] is not None
        assert (await api.get("/api/v1/studies", params={"unaddressed": "perhaps"})).status_code == 422
    async with portal.client("RT3") as api:
        assert (await api.get("/api/v1/studies", params={"unaddressed": "true"})).json()["items"] == []


async def _published(portal: World, cursor: int, recipient: str = "RT3") -> str:
    event = ShareDelivered.of(
        id=uuid4(),
        subject="s",
        data=ShareDeliveredPayload(
            share=uuid4(),
            source="RQM",
            study_uid="1.2.3",
            recipient=recipient,
            state="delivered",
            priority="routine",
            sequence=1,
            receipt_digest="sha256:00",
            revision=1,
        ),
    )
    await portal.write(
        routing.common.outbox,
        {
            "topic": "shares",
            "key": event.key,
            "value": event.encode(),
            "headers": {"ce_type": event.type, "ce_id": str(event.id)},
            "cursor": cursor,
            "published_at": NOW,
        },
    )
    return str(event.id)


async def test_the_feed_can_be_followed_and_replayed(portal: World) -> None:
    async with portal.client("RT3") as api:
        start = (await api.get("/api/v1/events")).json()
        assert start["items"] == []
        assert start["next"] is not None
        made = [await _published(portal, n) for n in range(1, 6)]
        await _published(portal, 6, recipient="RXX")
        first = (await api.get("/api/v1/events", params={"after": start["next"], "limit": "3"})).json()
        second = (await api.get("/api/v1/events", params={"after": first["next"]})).json()
        third = (await api.get("/api/v1/events", params={"after": second["next"]})).json()
        again = (await api.get("/api/v1/events")).json()
        wanted = {"type": "imex.share.failed"}
        assert (await api.get("/api/v1/events", params=wanted)).json()["items"] == []
        assert (await api.get("/api/v1/events", params={"type": "imex.nonsense"})).status_code == 422
        assert (await api.get("/api/v1/events", params={"after": "bogus"})).status_code == 400
    assert [one["id"] for one in first["items"] + second["items"]] == made
    assert third["items"] == []
    assert third["next"] == second["next"]
    assert [one["id"] for one in again["items"]] == made
    assert again["items"][0]["specversion"] == "1.0"


async def test_keys_of_receipts_are_published_to_everybody(portal: World) -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    await portal.write(delivery.signing_keys, {"kid": "k1", "jwk": jwk})
    async with portal.client(None) as anybody:
        [key] = (await anybody.get("/api/v1/keys")).json()["keys"]
    assert key == {**jwk, "kid": "k1", "use": "sig", "alg": "Ed25519"}
