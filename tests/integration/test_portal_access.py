"""Who may ask what of the API: tokens, scopes, and the record of what was shown."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.portal_world import DIRECTORY, NOW, TOKENS, World, world

from imex.db.tables import portal as portal_tables
from imex.db.tables import routing

PUT = {"content-type": "text/yaml", "if-match": "*"}


_PUBLIC = {"/api/v1/keys"}
"""What takes no token: whoever has a receipt may check it."""


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        yield made


async def test_without_a_good_token_it_is_401_and_says_how(portal: World) -> None:
    async with portal.client(None) as api:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic YTpi"}):
            answer = await api.get("/api/v1/shares", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"


async def _everything(portal: World) -> dict[str, Any]:
    """Something of every kind, from RQM to RT3, that RXX has no part in."""
    study = await portal.study(accession="SECRET-1")
    share = await portal.share(study)
    await portal.step(share, "received")
    return {
        "study": study,
        "share": share,
        "held": await portal.held(study),
        "notice": await portal.notice(study, share=share, recipient="RT3", kind="escalated"),
        "delivery": await portal.delivery(share, study),
        "tested": await portal.tested(),
        "unaddressed": await portal.study(accession="SECRET-2"),
        "correction": await portal.correction(study, share),
        "request": await _request(portal),
        "commitment": await _commitment(portal),
    }


async def _commitment(portal: World) -> UUID:
    """RQM's PACS has asked for a storage commitment."""
    commitment = uuid4()
    await portal.write(
        portal_tables.commitments,
        {
            "id": commitment, "institution": "RQM", "transaction_uid": "2.25.1", "ae_title": "SECRET",
            "called_ae": "IMEX", "instances": [["1.2", "1.2.3"]], "asked_at": NOW, "due_at": NOW,
        },
    )  # fmt: skip
    return commitment


async def _request(portal: World) -> UUID:
    """RT3 asks RQM for a patient's studies."""
    request = uuid4()
    await portal.write(
        routing.requests,
        {
            "id": request, "requester": "RT3", "holder": "RQM", "purpose": "direct-care",
            "priority": "routine", "wanted": None, "reason": "SECRET clinic", "state": "open",
            "made_by": "anna", "made_at": NOW, "expires_at": NOW,
        },
    )  # fmt: skip
    return request


def _reads(openapi: dict[str, Any], made: dict[str, Any]) -> list[str]:
    """Every GET that the API describes, with ids of what was made."""
    ids = {"share": made["share"], "entry": made["held"], "command": uuid4(), "topic": "dead.instances.bulk",
           "partition": 0, "offset": 0, "uid": "1.2.3", "code": "RT3", "name": "pacs",
           "test": made["tested"], "delivery": made["delivery"], "correction": made["correction"],
           "subject": uuid4(), "request": made["request"], "commitment": made["commitment"]}  # fmt: skip
    found = []
    for path, operations in openapi["paths"].items():
        if "get" in operations:
            filled = path.format_map({name: str(value) for name, value in ids.items()})
            required = [p["name"] for p in operations["get"].get("parameters", []) if p["required"]
                        and p["in"] == "query"]  # fmt: skip
            found.append(filled + "".join(f"?{name}={made['study']}" for name in required))
    return found


async def test_no_read_tells_another_institution_anything(portal: World) -> None:
    made = await _everything(portal)
    async with portal.client("RXX") as stranger:
        openapi = (await stranger.get("/api/v1/openapi.json")).json()
        reads = _reads(openapi, made)
        assert len(reads) > 15
        for path in reads:
            answer = await stranger.get(path)
            assert answer.status_code in {200, 202, 403, 404, 503}, path
            for name in ("study", "share", "held", "delivery", "unaddressed", "request", "commitment"):
                # a command's id and what was asked for are the caller's own words
                assert str(made[name]) not in answer.text, (path, name)
            assert "10.0.0.7" not in answer.text, path  # where an endpoint is
            assert "SECRET" not in answer.text, path


async def test_what_is_not_the_callers_cannot_be_changed(portal: World) -> None:
    made = await _everything(portal)
    paths = (
        f"/shares/{made['share']}/revoke",
        f"/quarantine/{made['held']}/release",
        f"/deliveries/{made['delivery']}/retry",
        f"/requests/{made['request']}/grant",
        f"/requests/{made['request']}/withdraw",
        f"/deliveries/{made['delivery']}/pause",
        "/destinations/RT3/pacs/pause",
    )
    async with portal.client("RXX") as stranger:
        for path in paths:
            assert (await stranger.post(f"/api/v1{path}", json={"reason": "x"})).status_code == 404, path
    async with portal.client("RT3") as recipient:
        assert (await recipient.post(f"/api/v1{paths[0]}", json={})).status_code == 403
        assert (await recipient.get(f"/api/v1/quarantine/{made['held']}")).status_code == 404
    assert await portal.outbox("commands") == []


async def test_only_the_administration_administers(portal: World) -> None:
    async with portal.client("RQM") as api:
        for method, path in (
            ("GET", "/directory"), ("PUT", "/directory"), ("GET", "/tokens"), ("POST", "/tokens"),
            ("GET", "/reconcile"), ("GET", "/dead-letters"), ("DELETE", f"/tokens/{uuid4()}"),
            ("POST", "/subjects/report"), ("GET", f"/subjects/{uuid4()}"),
            ("POST", f"/subjects/{uuid4()}/erase"),
        ):  # fmt: skip
            answer = await api.request(
                method, f"/api/v1{path}", json={"label": "x"} if method == "POST" else None
            )
            assert answer.status_code == 403, path


async def test_a_token_is_shown_once_and_can_be_revoked(portal: World) -> None:
    async with portal.client() as admin:
        assert (await admin.put("/api/v1/directory", content=DIRECTORY, headers=PUT)).status_code == 200
        issued = (await admin.post("/api/v1/tokens", json={"institution": "RT3", "label": "PACS"})).json()
        assert (
            await admin.post("/api/v1/tokens", json={"institution": "NO1", "label": "x"})
        ).status_code == 422
        mine = {"authorization": f"Bearer {issued['token']}"}
        assert (await admin.get("/api/v1/shares", headers=mine)).status_code == 200
        listed = await admin.get("/api/v1/tokens")
        assert issued["token"] not in listed.text
        assert TOKENS["admin"] not in listed.text
        assert (await admin.delete(f"/api/v1/tokens/{issued['id']}")).status_code == 204
        assert (await admin.get("/api/v1/shares", headers=mine)).status_code == 401
        assert (await admin.delete(f"/api/v1/tokens/{issued['id']}")).status_code == 404


async def test_nothing_is_shown_without_its_audit_record(portal: World) -> None:
    made = await _everything(portal)
    shown = {
        f"/shares/{made['share']}": "share_viewed",
        f"/shares/{made['share']}/timeline": "share_viewed",
        "/shares?accession=SECRET-1": "shares_listed",
        "/find?identifier=SECRET-1": "identifier_searched",
        "/studies?unaddressed=true": "shares_listed",
        f"/deliveries/{made['delivery']}": "delivery_viewed",
        f"/quarantine/{made['held']}": "quarantine_viewed",
    }
    async with portal.client("RQM") as api:
        for count, (path, action) in enumerate(shown.items(), start=1):
            assert (await api.get(f"/api/v1{path}")).status_code == 200
            records = await portal.audited()
            assert len(records) == count, path
            assert records[-1].action == action
            assert records[-1].study_uid in {made["study"], made["unaddressed"]}, path
            assert records[-1].actor.institution == "RQM"
            assert "SECRET" not in records[-1].model_dump_json(), "what was looked for may be a patient's"


async def test_when_it_cannot_be_recorded_it_is_not_shown(
    portal: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await _everything(portal)

    async def full(_unit: object) -> bool:
        raise RuntimeError("no room for the record")

    monkeypatch.setattr("imex.db.unit.UnitOfWork.flush", full)
    async with portal.client("RQM") as api:
        with pytest.raises(RuntimeError, match="no room"):
            await api.get(f"/api/v1/shares/{made['share']}")


async def test_the_description_of_the_api_is_sound(portal: World) -> None:
    async with portal.client(None) as api:
        openapi = (await api.get("/api/v1/openapi.json")).json()
    assert openapi["openapi"].startswith("3.1")
    operations = [
        (path, operation) for path, methods in openapi["paths"].items() for operation in methods.values()
    ]
    names = [operation["operationId"] for _, operation in operations]
    assert len(names) == len(set(names))
    for path, operation in operations:
        assert path.startswith("/api/v1/")
        assert operation.get("summary"), path
        assert operation.get("security") or path in _PUBLIC, path
    text = str(openapi)
    for reference in {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in openapi["components"]["schemas"]


async def test_ids_that_are_none_are_an_error_and_unknown_ones_404(portal: World) -> None:
    async with portal.client() as api:
        assert (await api.get("/api/v1/shares/not-an-id")).status_code == 422
        assert (await api.get(f"/api/v1/shares/{UUID(int=1)}")).status_code == 404
        assert (await api.get("/api/v1/nothing")).status_code == 404
        assert (await api.get("/api/v1/nothing")).headers["content-type"] == "application/problem+json"
