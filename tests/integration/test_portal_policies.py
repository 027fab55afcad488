"""Marks of people's records, and changed directories tried on what was decided: for administrators."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.portal_world import DIRECTORY, World, world

from imex.db.tables import routing, validation
from imex.directory import DirectoryIndex, Marks, StudyFacts, parse
from imex.events.commands import LinkCommanded, MarkCommanded
from imex.sealing import Sealer
from imex.sharing.decide import consider
from imex.sharing.decisions import Background, Question
from imex.sharing.recorded import Answer, RecordedQuestion

PERSON = {"issuer": "NHS", "patient_id": "943 476 5919"}
MARK = {**PERSON, "opted_out": True, "sensitive": False, "reason": "as the national service says"}
BY_R1 = "(rule r1, agreement a1, routine)"
YAML = {"content-type": "text/yaml"}


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        made.portal.sealer = Sealer({"k1": b"k" * 32}, "k1")
        yield made


async def decided(portal: World, study_uid: str, modality: str = "CT") -> None:
    """A decision as routing records it."""
    index = DirectoryIndex(parse(DIRECTORY))
    question = Question(
        study_uid=study_uid,
        facts=StudyFacts("RQM", modalities=frozenset({modality})),
        at=datetime.now(UTC),
        passage=1,
        standing=True,
        background=Background(Marks(opted_out=False, sensitive=False)),
    )
    recorded = RecordedQuestion.of(question, index.version)
    answer = Answer.of(consider(index, question))
    await portal.write(
        routing.decisions,
        {
            "source": "RQM",
            "study_uid": study_uid,
            "at": question.at,
            "directory_version": index.version,
            "question": recorded.open.model_dump(mode="json", exclude_defaults=True),
            "personal": recorded.personal.model_dump(mode="json", exclude_defaults=True),
            "answer": answer.model_dump(mode="json", exclude_defaults=True),
        },
    )


async def test_a_mark_is_sealed_on_its_way_and_audited_without_the_person(portal: World) -> None:
    async with portal.client() as api:
        answer = await api.post("/api/v1/marks", json=MARK)
        assert answer.status_code == 202  # routing does not run here
        [command] = await portal.outbox("commands")
        assert isinstance(command, MarkCommanded)
        assert command.key == "marks"
        records = await portal.outbox("audit")
        assert records[-1].data.action == "record_marked"
        for event in (command, *records):
            assert b"9434765919" not in event.encode()
            assert b"943 476" not in event.encode()


async def test_what_is_marked_is_found_however_the_number_is_written(portal: World) -> None:
    values = {"opted_out": True, "sensitive": False, "reason": "", "set_by": "admin", "at": datetime.now(UTC)}
    await portal.write(routing.marks, {"issuer": "NHS", "patient_id": "9434765919", **values})
    async with portal.client() as api:
        found = (await api.post("/api/v1/marks/find", json=PERSON)).json()
        assert (found["opted_out"], found["set_by"]) == (True, "admin")
        other = {**PERSON, "patient_id": "943 476 5870"}
        assert (await api.post("/api/v1/marks/find", json=other)).json()["opted_out"] is False


@pytest.mark.parametrize("path", ["/marks", "/marks/find", "/rules/replay", "/identities/trace"])
async def test_only_the_networks_administration_may(portal: World, path: str) -> None:
    async with portal.client("RQM") as api:
        assert (await api.post(f"/api/v1{path}", json=MARK)).status_code == 403
    async with portal.client(None) as api:
        assert (await api.post(f"/api/v1{path}", json=MARK)).status_code == 401


async def test_a_mark_names_both_what_it_sets_and_what_it_leaves(portal: World) -> None:
    async with portal.client() as api:
        answer = await api.post("/api/v1/marks", json={**PERSON, "opted_out": True})
    assert answer.status_code == 422
    assert "sensitive" in answer.text
    assert "5919" not in answer.text


async def test_the_same_directory_would_have_decided_alike(portal: World) -> None:
    for number in range(3):
        await decided(portal, f"1.2.{number}")
    async with portal.client() as api:
        answer = await api.post("/api/v1/rules/replay", content=DIRECTORY, headers=YAML)
    found = answer.json()
    assert (found["studies"], found["decisions"], found["changed"], found["items"]) == (3, 3, 0, [])


async def test_a_changed_directory_says_study_by_study_what_it_would_have_done(portal: World) -> None:
    await decided(portal, "1.2.1")
    await decided(portal, "1.2.2", modality="MR")
    changed = DIRECTORY.replace("modality: CT", "modality: MR")
    async with portal.client() as api:
        found: Any = (await api.post("/api/v1/rules/replay", content=changed, headers=YAML)).json()
    assert {one["study_uid"]: one["changes"] for one in found["items"]} == {
        "1.2.1": [
            "RT3 for direct-care: was shared (rule r1, agreement a1, routine); nothing would ask for it"
        ],
        "1.2.2": ["RT3 for direct-care: would be shared (rule r1, agreement a1, routine)"],
    }


async def test_pages_of_studies_are_told_as_one(portal: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imex.portal.queries.decisions._STUDIES", 2)
    await asyncio.gather(*(decided(portal, f"1.2.{number}") for number in range(5)))
    async with portal.client() as api:
        nothing = DIRECTORY.partition("rules:")[0]
        found = (await api.post("/api/v1/rules/replay", content=nothing, headers=YAML)).json()
    assert (found["studies"], found["changed"], len(found["items"])) == (5, 5, 5)


async def test_a_file_with_errors_is_told_by_line_and_nothing_is_asked(portal: World) -> None:
    async with portal.client() as api:
        answer = await api.post("/api/v1/rules/replay", content="institutions: 7\n", headers=YAML)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["line"] == 1


LINK = {"source": "RQM", "study_uid": "1.2.3", **PERSON, "reason": "wrist band"}


async def judged(portal: World, *, temporary: bool) -> None:
    """A study as validation knows it."""
    known = {"issuer": "RQM", "patient_id": "T1", "patient_name": "unknown^male", "birth_date": "", "sex": ""}
    row = {"source": "RQM", "study_uid": "1.2.3", **known, "temporary": temporary}
    await portal.write(validation.studies, row)


async def test_a_temporary_identity_is_linked_by_its_source_and_no_log_names_the_person(
    portal: World,
) -> None:
    await judged(portal, temporary=True)
    async with portal.client("RT3") as api:
        assert (await api.post("/api/v1/identities/link", json=LINK)).status_code == 403
    async with portal.client("RQM") as api:
        answer = await api.post("/api/v1/identities/link", json=LINK)
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    [command] = await portal.outbox("commands")
    assert isinstance(command, LinkCommanded)
    [*_, record] = await portal.outbox("audit")
    assert record.data.action == "identity_linked"
    for event in (command, record):
        assert b"943 476" not in event.encode()


async def test_what_is_known_already_is_not_linked_to_somebody_else(portal: World) -> None:
    await judged(portal, temporary=False)
    async with portal.client("RQM") as api:
        assert (await api.post("/api/v1/identities/link", json=LINK)).status_code == 409
        other = {**LINK, "study_uid": "1.2.9"}
        assert (await api.post("/api/v1/identities/link", json=other)).status_code == 404
        wrong = {**LINK, "patient_id": "943 476 5918"}
        assert (await api.post("/api/v1/identities/link", json=wrong)).status_code == 422


async def test_what_was_refused_is_listed_and_nobody_can_release_it(portal: World) -> None:
    entry = await portal.held("1.2.3", state="refused", releasable=False)
    async with portal.client("RQM") as api:
        [found] = (await api.get("/api/v1/quarantine?state=refused")).json()["items"]
        assert (found["state"], found["may_release"]) == ("refused", [])
        release = await api.post(f"/api/v1/quarantine/{entry}/release", json={"reason": "x"})
        assert release.status_code == 409


async def test_what_only_the_administration_may_release_its_source_may_discard(portal: World) -> None:
    entry = await portal.held("1.2.3", releaser="admin")
    async with portal.client("RQM") as api:
        release = await api.post(f"/api/v1/quarantine/{entry}/release", json={"reason": "x"})
        assert release.status_code == 403
        discard = await api.post(f"/api/v1/quarantine/{entry}/discard", json={"reason": "x"})
        assert discard.status_code == 202
    async with portal.client() as api:
        release = await api.post(f"/api/v1/quarantine/{entry}/release", json={"reason": "x"})
        assert release.status_code == 202
