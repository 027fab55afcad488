"""What agreements, rules and marks ask for while a study is under way."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.integration.routing_world import (
    AGREED,
    HOSPITALS,
    NHS_NUMBER,
    QUIET_S,
    TO_B,
    Sending,
    World,
    routing_world,
)

from imex.db.tables import routing as tables
from imex.directory import DirectoryIndex
from imex.events import Identity
from imex.events.commands import LinkCommanded, LinkCommandedData
from imex.events.manifests import ManifestWithdrawn
from imex.events.sealed import Sealed
from imex.routing.intake import Intake
from imex.sharing.differences import combined, difference, replay_study
from imex.sharing.recorded import Answer, OpenPart, PersonalPart, RecordedQuestion, replay

ANOTHER = Sealed(key_id="k", nonce="", ciphertext="T0001")
RESEARCH = """
agreements:
  - {id: a1, from: RQM, to: [RT3, RW6], purposes: [direct-care], legal_basis: "UK GDPR 6(1)(e)"}
  - {id: a2, from: RQM, to: RW6, purposes: [research], legal_basis: "s251"}
rules:
  - {id: r1, match: {source: RQM, modality: CT}, to: [RT3]}
  - {id: r2, match: {source: RQM, modality: CT}, to: [RW6], purpose: research}
"""


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


def rule(**more: str) -> str:
    """The directory with one rule to hospital B that asks for more."""
    said = ", ".join(f"{name}: {value}" for name, value in more.items())
    return HOSPITALS + AGREED + f"rules:\n  - {{id: r1, match: {{source: RQM}}, to: [RT3], {said}}}\n"


async def states(world: World) -> dict[str, str]:
    return {share.recipient: share.state for share in await world.shares()}


# agreements that end


async def test_a_revoked_agreement_stops_what_is_collected(world: World) -> None:
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2))
    assert (await world.share()).state == "collecting"
    world.directories.apply(HOSPITALS + TO_B)
    await world.revoke()
    share = await world.share()
    assert share.state == "refused"
    assert "agreement" in share.reason
    await world.quiet()
    assert world.parts() == []


async def test_a_revoked_agreement_stops_what_is_on_its_way(world: World) -> None:
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()
    assert (await world.share()).state == "delivering"
    world.directories.apply(HOSPITALS + TO_B)
    await world.revoke()
    assert (await world.share()).state == "revoked"
    assert len(world.said(ManifestWithdrawn)) == 1


async def test_what_was_delivered_stays_delivered(world: World) -> None:
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.confirm_all()
    world.directories.apply(HOSPITALS + TO_B)
    await world.revoke()
    assert (await world.share()).state == "delivered"


async def test_an_agreement_that_was_revoked_while_routing_stood_still_stops_it_too(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1))
    world.directories.apply(HOSPITALS + TO_B)
    await world.revoke()  # the first look after a start
    assert (await world.share()).state == "refused"


async def test_an_agreement_ends_with_its_last_day(world: World) -> None:
    until = AGREED.replace("}\n", ", valid_until: 2026-03-02}\n")
    world.directories.apply(HOSPITALS + until + TO_B)
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1))
    world.clock.pass_(14 * 3600)
    await world.revoke()
    assert (await world.share()).state == "collecting"
    world.clock.pass_(3600)
    await world.revoke()
    assert (await world.share()).state == "refused"


async def test_another_agreement_that_covers_it_takes_over(world: World) -> None:
    await world.revoke()
    await world.validated(*Sending(world).accepted(1))
    other = AGREED.replace("id: a1", "id: a9").replace("6(1)(e)", "6(1)(c)")
    world.directories.apply(HOSPITALS + other + TO_B)
    await world.revoke()
    share = await world.share()
    assert (share.state, share.agreement, share.legal_basis) == ("collecting", "a9", "UK GDPR 6(1)(c)")


async def test_delivery_is_told_on_what_it_rests(world: World) -> None:
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    world.directories.apply(HOSPITALS + AGREED.replace("id: a1", "id: a9") + TO_B)
    await world.revoke()
    assert (await world.share()).state == "delivering"
    assert [(part.part, part.agreement, len(part.instances)) for part in world.parts()] == [
        (1, "a1", 1), (0, "a9", 0),
    ]  # fmt: skip


async def test_deidentification_that_is_asked_for_later_is_done_or_nothing_goes(world: World) -> None:
    await world.revoke()
    for number in (1, 2):
        sending = Sending(world, study_uid=f"1.2.{number}")
        await world.validated(*sending.accepted(1), *([sending.over(1)] if number == 1 else []))
        await world.quiet(QUIET_S + 1 if number == 1 else 1)
    assert await by_study(world) == {"1.2.1": ("delivering", False), "1.2.2": ("collecting", False)}
    asks = AGREED.replace("}\n", ", deidentify: {project: trial}}\n")
    world.directories.apply(HOSPITALS + asks + TO_B)
    await world.revoke()
    assert await by_study(world) == {"1.2.1": ("revoked", False), "1.2.2": ("collecting", True)}
    world.directories.apply(HOSPITALS + AGREED + TO_B)
    await world.revoke()
    assert await by_study(world) == {"1.2.1": ("revoked", False), "1.2.2": ("collecting", False)}


async def by_study(world: World) -> dict[str, tuple[str, bool]]:
    return {share.study_uid: (share.state, share.deidentified) for share in await world.shares()}


async def test_a_recipient_that_leaves_the_group_of_an_agreement_gets_nothing_more(world: World) -> None:
    grouped = AGREED.replace("[RT3, RW6, INB]", "NET")
    world.directories.apply(HOSPITALS + grouped + TO_B)
    await world.revoke()
    await world.validated(*Sending(world).accepted(1))
    world.directories.apply(HOSPITALS.replace("[RQM, RT3, RW6]", "[RQM, RW6]") + grouped + TO_B)
    await world.revoke()
    assert (await world.share()).state == "refused"


# marks of a record


async def test_who_opted_out_is_cared_for_and_not_researched_on(world: World) -> None:
    world.directories.apply(HOSPITALS + RESEARCH)
    await world.marked(opted_out=True)
    await world.validated(*Sending(world).accepted(1))
    assert await states(world) == {"RT3": "collecting", "RW6": "refused"}


async def test_who_opts_out_later_stops_what_has_not_been_delivered(world: World) -> None:
    world.directories.apply(HOSPITALS + RESEARCH)
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    assert await states(world) == {"RT3": "collecting", "RW6": "collecting"}
    await world.quiet()
    await world.marked(opted_out=True)
    assert await states(world) == {"RT3": "delivering", "RW6": "revoked"}


async def test_a_record_is_found_however_its_number_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Identity(patient_id="943 47-65919", issuer="NHS")
    monkeypatch.setattr(world.intake, "_open_identity", lambda *_: odd)
    await world.validated(*Sending(world).accepted(1))
    assert (await world.share()).state == "collecting"
    await world.marked(sensitive=True)
    assert (await world.share()).state == "refused"


async def test_a_sensitive_record_needs_an_agreement_for_it(world: World) -> None:
    await world.marked(sensitive=True)
    await world.validated(*Sending(world).accepted(1))
    assert (await world.share()).state == "refused"
    world.directories.apply(HOSPITALS + AGREED.replace("}\n", ", sensitive: true}\n") + TO_B)
    await world.validated(*Sending(world).accepted(2))
    assert (await world.shares())[-1].state == "collecting"


async def test_a_mark_that_cannot_be_looked_up_lets_no_research_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*_: object) -> None:
        raise TimeoutError("the service for opt-outs is away")

    monkeypatch.setattr("imex.routing.background.LocalMarking.marks", unreachable)
    world.directories.apply(HOSPITALS + RESEARCH.replace("direct-care]", "direct-care], sensitive: true"))
    await world.validated(*Sending(world).accepted(1))
    assert await states(world) == {"RT3": "collecting", "RW6": "refused"}


async def test_marks_hold_for_who_is_known_later(world: World) -> None:
    """An unknown patient is linked to a person who has opted out."""
    world.directories.apply(HOSPITALS + RESEARCH)
    await world.marked(opted_out=True)
    await world.validated(*Sending(world).accepted(1, identity=ANOTHER))
    assert await states(world) == {"RT3": "collecting", "RW6": "collecting"}
    data = LinkCommandedData(
        source="RQM",
        study_uid="1.2.3",
        link=uuid4(),
        person=Sealed(key_id="k", nonce="", ciphertext=NHS_NUMBER),
        actor="anna",
        actor_institution="RQM",
    )
    await world.commanded(LinkCommanded.of(id=uuid4(), subject="RQM/1.2.3", data=data))
    assert await states(world) == {"RT3": "collecting", "RW6": "refused"}
    assert (await world.steps()).count("identity_linked") == 2


# completeness


async def test_as_many_as_the_sender_states_are_complete_at_once(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2, stated_instances=3))
    await world.quiet(1)
    assert world.parts() == []
    await world.validated(*sending.accepted(3, stated_instances=3))
    await world.quiet(1)
    assert (await world.share()).complete


async def test_a_rule_may_take_no_notice_of_what_the_sender_states(world: World) -> None:
    world.directories.apply(rule(completeness="{expected: false}"))
    sending = Sending(world)
    await world.validated(*sending.accepted(1, stated_instances=1), sending.over(1))
    await world.quiet(1)
    assert not (await world.share()).complete
    await world.quiet()
    assert (await world.share()).complete


async def test_a_study_waits_for_the_series_that_its_rule_requires(world: World) -> None:
    condition = "series.exists(s, s.modality == 'MR' && s.instances >= 2)"
    world.directories.apply(rule(completeness=f'{{required_series: "{condition}"}}'))
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet(3600)
    assert not (await world.share()).complete
    later = Sending(world)
    mr = {"modality": "MR", "series_uid": "1.2.3.2"}
    await world.validated(*later.accepted(2, 3, **mr), later.over(2))
    await world.quiet()
    assert (await world.share()).complete


async def test_the_cap_of_a_rule_ends_every_wait(world: World) -> None:
    world.directories.apply(rule(completeness='{required_series: "false", at_most_s: 600}'))
    await world.validated(*Sending(world).accepted(1))  # its association never ends
    await world.quiet(590)
    assert not (await world.share()).complete
    await world.quiet(11)
    assert (await world.share()).complete


async def test_a_person_ends_the_wait_and_what_comes_later_joins(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2))
    share = await world.share()
    await world.commanded(world.command("complete", share=share.id, reason="the scanner broke down"))
    await world.quiet(1)
    assert (await world.share()).complete
    assert "completion_asked" in await world.steps()
    await world.confirm_all()
    await world.validated(*sending.accepted(3), sending.over(3))
    await world.quiet()
    late = await world.share()
    assert (late.id, late.handed, late.delivery_revision) == (share.id, 3, 2)


async def test_only_the_source_says_that_nothing_more_comes(world: World) -> None:
    await world.validated(*Sending(world).accepted(1))
    share = await world.share()
    command = world.command("complete", share=share.id, actor_institution="RT3")
    await world.commanded(command)
    [result] = await world.rows(tables.command_results)
    assert (result.command_id, result.outcome) == (command.id, "rejected")


# priors


async def test_earlier_studies_of_the_person_travel_along(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED)
    for number, modality in enumerate(("CT", "MR", "CT")):
        sending = Sending(world, study_uid=f"1.2.{number}", modality=modality)
        await world.validated(*sending.accepted(1), sending.over(1))
        await world.quiet()
    world.directories.apply(rule(priors="{count: 5}"))
    sending = Sending(world, study_uid="1.2.9")
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.send_priors()
    await world.send_priors()
    assert {(share.study_uid, share.origin) for share in await world.shares()} == {
        ("1.2.9", "rule"), ("1.2.0", "prior"), ("1.2.2", "prior"),
    }  # fmt: skip
    await world.quiet()
    assert {part.study_uid for part in world.parts()} == {"1.2.9", "1.2.0", "1.2.2"}


async def test_priors_are_named_where_people_look(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED)
    for number in range(2):
        sending = Sending(world, study_uid=f"1.2.{number}")
        await world.validated(*sending.accepted(1), sending.over(1))
        await world.quiet()
    world.directories.apply(rule(priors="{count: 5}"))
    await world.validated(*Sending(world, study_uid="1.2.9").accepted(1))
    await world.send_priors()
    share, *priors = sorted(await world.shares(), key=lambda one: one.origin == "prior")
    told = await world.rows(tables.timeline, tables.timeline.c.seq)
    [words] = [row.reason for row in told if row.step == "priors_sent_along"]
    assert words == "2 earlier studies travel along, each as a share of its own"
    for prior in priors:
        [why] = [row.reason for row in told if row.share == prior.id and row.step == "requested"]
        assert str(share.id) in why
        assert "1.2.9" not in why, "who gets them de-identified must not learn a UID of the source's"


async def test_a_prior_that_no_agreement_covered_goes_once_one_does(world: World) -> None:
    world.directories.apply(HOSPITALS + AGREED)
    old = Sending(world, study_uid="1.2.0", modality="MR")
    await world.validated(*old.accepted(1), old.over(1))
    await world.quiet()
    wanted = rule(priors="{count: 5, modality: any}")
    narrow = AGREED.replace("}\n", ", modalities: [CT]}\n")
    for number, text in enumerate((wanted.replace(AGREED, narrow), wanted, wanted)):
        world.directories.apply(text)
        await world.validated(*Sending(world, study_uid=f"1.3.{number}").accepted(1))
        await world.send_priors()
    found = [(one.episode, one.state) for one in await world.shares() if one.study_uid == "1.2.0"]
    assert sorted(found) == [(1, "refused"), (2, "collecting")]


async def test_a_prior_goes_nowhere_without_an_agreement_of_its_own(world: World) -> None:
    narrow = AGREED.replace("}\n", ", modalities: [CT]}\n")
    for number, modality in enumerate(("MR", "CT")):
        world.directories.apply(HOSPITALS + narrow + "rules: []\n")
        sending = Sending(world, study_uid=f"1.2.{number}", modality=modality)
        await world.validated(*sending.accepted(1), sending.over(1))
        await world.quiet()
    world.directories.apply(rule(priors="{count: 5, modality: any}").replace(AGREED, narrow))
    await world.validated(*Sending(world, study_uid="1.2.9").accepted(1))
    await world.send_priors()
    assert {share.study_uid: share.state for share in await world.shares()} == {
        "1.2.9": "collecting", "1.2.0": "refused", "1.2.1": "collecting",
    }  # fmt: skip


async def test_people_who_are_not_known_yet_have_no_priors(world: World) -> None:
    """Two of them may have been admitted under one identifier."""

    def unknown(_sealed: Sealed, _key: str) -> Identity:
        return Identity(patient_id="T0001", patient_name="UNKNOWN^MALE")

    world.intake = Intake(world.intake._around, unknown)
    world.directories.apply(HOSPITALS + AGREED)
    first = Sending(world, study_uid="1.2.0")
    await world.validated(*first.accepted(1), first.over(1))
    await world.quiet()
    world.directories.apply(rule(priors="{count: 5}"))
    await world.validated(*Sending(world, study_uid="1.2.9").accepted(1))
    await world.send_priors()
    assert {share.study_uid for share in await world.shares()} == {"1.2.9"}


# loops


async def test_what_came_from_a_hospital_is_never_sent_back_to_it_by_a_rule(world: World) -> None:
    both = AGREED + '  - {id: a2, from: RT3, to: [RQM, RW6], purposes: [direct-care], legal_basis: "x"}\n'
    rules = "rules:\n  - {id: all, match: {modality: CT}, to: [NET]}\n"
    world.directories.apply(HOSPITALS + both + rules)
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.validated(*Sending(world, source="RT3").accepted(1))
    found = {(share.source, share.recipient) for share in await world.shares()}
    assert found == {("RQM", "RT3"), ("RQM", "RW6"), ("RT3", "RW6")}


# decisions


async def test_every_decision_is_recorded_and_replayed_alike(world: World) -> None:
    world.directories.apply(HOSPITALS + RESEARCH)
    sending = Sending(world)
    await world.validated(*sending.accepted(1))
    await world.validated(*sending.accepted(2, modality="MR"), sending.over(2))
    await world.marked(opted_out=True)
    questions, answers = await recorded(world)
    assert len(questions) == 3
    index = world.directories.index
    assert [replay(index, question) for question in questions] == answers
    assert difference(combined(answers), combined(replay_study(index, questions))) == ()

    changed = DirectoryIndex(world.directories.index.directory.model_copy(update={"rules": ()}))
    [words] = difference(combined(answers), combined(replay_study(changed, questions)))
    assert words.startswith("RT3 for direct-care: was shared (rule r1, agreement a1, routine)")


async def recorded(world: World) -> tuple[list[RecordedQuestion], list[Answer]]:
    rows = await world.rows(tables.decisions, tables.decisions.c.seq)
    questions = [
        RecordedQuestion(
            open=OpenPart.model_validate(row.question), personal=PersonalPart.model_validate(row.personal)
        )
        for row in rows
    ]
    return questions, [Answer.model_validate(row.answer) for row in rows]
