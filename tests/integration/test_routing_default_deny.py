"""Ways around default deny: what was covered once and is so no more leaves by no side door."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.integration.routing_world import AGREED, HOSPITALS, TO_B, Sending, World, routing_world

from imex.events import Identity
from imex.events.manifests import ManifestWithdrawn
from imex.events.sealed import Sealed
from imex.routing.intake import Intake

ENDING = AGREED.replace("}\n", ", valid_until: 2026-03-02}\n")
TO_B_AT_ONCE = "rules:\n  - {id: r1, match: {source: RQM}, to: [RT3], priority: emergency}\n"
CLINICIAN = AGREED.replace("}\n", ", clinician_required: true}\n")
FIFTEEN_HOURS = 15 * 3600


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


async def test_what_waited_in_quarantine_does_not_leave_once_its_agreement_has_ended(world: World) -> None:
    world.directories.apply(HOSPITALS + ENDING + TO_B)
    await world.revoke()
    sending, entry = Sending(world), uuid4()
    await world.validated(sending.held(1, entry), sending.over(1))
    await world.quiet(200)
    share = await world.share()
    assert (share.state, share.parts) == ("partial", 0)
    world.clock.pass_(FIFTEEN_HOURS)
    await world.revoke()
    assert (await world.share()).state == "refused"
    await world.validated(*sending.accepted(1, quarantine=entry, released=True))
    await world.quiet(200)
    assert world.parts() == []


async def test_a_late_instance_does_not_leave_once_the_agreement_has_ended(world: World) -> None:
    world.directories.apply(HOSPITALS + ENDING + TO_B)
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1, stated_instances=1))
    await world.quiet(1)
    await world.confirm_all()
    assert (await world.share()).state == "delivered"
    world.clock.pass_(FIFTEEN_HOURS)
    await world.revoke()
    await world.validated(*sending.accepted(2), sending.over(2))
    await world.quiet(200)
    assert sum(len(part.instances) for part in world.parts()) == 1
    assert (await world.share()).state == "revoked"


async def test_a_late_instance_of_an_emergency_does_not_leave_once_the_agreement_has_ended(
    world: World,
) -> None:
    world.directories.apply(HOSPITALS + ENDING + TO_B_AT_ONCE)
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1, stated_instances=1))
    await world.quiet(1)
    await world.confirm_all()
    assert (await world.share()).state == "delivered"
    world.clock.pass_(FIFTEEN_HOURS)
    await world.revoke()
    await world.validated(*sending.accepted(2))
    assert sum(len(part.instances) for part in world.parts()) == 1


async def test_what_is_complete_before_revocation_has_looked_is_asked_once_more(world: World) -> None:
    """A batch that began with the version before commits behind the look for its agreement."""
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    world.directories.apply(HOSPITALS + ENDING.replace("2026-03-02", "2026-03-01") + TO_B)
    await world.quiet()
    assert world.parts() == []
    assert (await world.share()).state == "refused"


async def test_a_failed_share_is_not_tried_again_once_its_agreement_has_ended(world: World) -> None:
    world.directories.apply(HOSPITALS + ENDING + TO_B)
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.delivered(world.ended(world.parts()[0], "failed", "nobody answers"))
    assert (await world.share()).state == "failed"
    world.clock.pass_(FIFTEEN_HOURS)
    await world.revoke()
    assert len(world.said(ManifestWithdrawn)) == 1


async def test_a_failed_share_is_not_tried_again_once_the_record_is_sensitive(world: World) -> None:
    await world.revoke()
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    await world.delivered(world.ended(world.parts()[0], "failed", "nobody answers"))
    await world.marked(sensitive=True)
    assert len(world.said(ManifestWithdrawn)) == 1


async def test_a_mark_counts_also_where_the_first_instance_named_nobody(world: World) -> None:
    def nameless(sealed: Sealed, _key: str) -> Identity:
        return Identity(patient_id=sealed.ciphertext, issuer="NHS" if sealed.ciphertext else "")

    world.intake = Intake(world.intake._around, nameless)
    await world.marked(sensitive=True)
    named = Sealed(key_id="k", nonce="", ciphertext="9434765919")
    sending = Sending(world)
    await world.validated(*sending.accepted(1))
    await world.validated(*sending.accepted(2, identity=named), sending.over(2))
    await world.quiet()
    assert world.parts() == []
    assert (await world.share()).state == "refused"


async def test_a_mark_counts_also_where_the_first_instance_of_the_batch_named_nobody(world: World) -> None:
    def nameless(sealed: Sealed, _key: str) -> Identity:
        return Identity(patient_id=sealed.ciphertext, issuer="NHS" if sealed.ciphertext else "")

    world.intake = Intake(world.intake._around, nameless)
    await world.marked(sensitive=True)
    named = Sealed(key_id="k", nonce="", ciphertext="9434765919")
    sending = Sending(world)
    await world.validated(*sending.accepted(1), *sending.accepted(2, identity=named), sending.over(2))
    await world.quiet()
    assert world.parts() == []


async def test_blanks_name_no_clinician(world: World) -> None:
    world.directories.apply(HOSPITALS + CLINICIAN)
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.commanded(world.command("create", purpose="direct-care", clinician="  \u00a0"))
    assert (await world.share()).state == "refused"
