"""What becomes of an instance, example by example."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.events import Identity, Sealed
from imex.events.instances import InstanceReceivedData, PixelFacts
from imex.validation.decide import Accepted, Copy, Duplicated, Facts, Held, decide
from imex.validation.identity import Demographics, demographics, disagreements

JANE = Identity(
    patient_id="9990000018", issuer="NHS", patient_name="DOE^JANE", birth_date="19700101", sex="F"
)
SEALED = Sealed(key_id="k", nonce="", ciphertext="")


def received(**changes: object) -> InstanceReceivedData:
    facts: dict[str, object] = {
        "source": "RQM",
        "study_uid": "1.2.3",
        "series_uid": "1.2.3.1",
        "sop_instance_uid": "1.2.3.1.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "modality": "CT",
        "object_key": "RQM/2026-11-24/0",
        "size": 100,
        "digest": "sha256:aa",
        "lane": "bulk",
        "association": uuid4(),
        "received_at": datetime.now(UTC),
        "directory_version": "v",
        "identity": SEALED,
        "dataset_sop_instance_uid": "1.2.3.1.1",
        "dataset_sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "dataset_study_uid": "1.2.3",
    }
    return InstanceReceivedData.model_validate(facts | changes)


def held(decision: object) -> Held:
    assert isinstance(decision, Held)
    return decision


def test_a_sound_instance_is_accepted_without_warnings() -> None:
    assert decide(received(), JANE, Facts()) == Accepted((), demographics(JANE, "RQM"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem": "it ends within an element at byte 90"}, "cannot be read"),
        ({"dataset_study_uid": ""}, "Study Instance UID is missing"),
        ({"dataset_study_uid": "1.02.3"}, "Study Instance UID is malformed"),
        ({"series_uid": ""}, "Series Instance UID is missing"),
        ({"dataset_sop_instance_uid": "1.2.9"}, "not the one it was sent under"),
        ({"dataset_sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, "not the one it was sent under"),
        ({"pixels": PixelFacts(present=True, length=10, expected=12)}, "10 bytes where"),
    ],
)
def test_what_is_wrong_with_the_instance_itself_holds_it_with_words(
    changes: dict[str, object], words: str
) -> None:
    assert words in held(decide(received(**changes), JANE, Facts())).reason


def test_pixel_data_of_unknown_length_is_no_reason_to_hold() -> None:
    encapsulated = received(pixels=PixelFacts(present=True, length=None, expected=12))
    assert isinstance(decide(encapsulated, JANE, Facts()), Accepted)


def test_an_nhs_number_with_a_wrong_check_digit_is_held_and_can_be_released() -> None:
    wrong = JANE.model_copy(update={"patient_id": "9990000019"})
    decision = held(decide(received(), wrong, Facts()))
    assert "NHS number" in decision.reason
    assert "9990000019" not in decision.reason
    assert decision.releasable


def test_the_same_number_from_another_issuer_is_nobodys_nhs_number() -> None:
    local = JANE.model_copy(update={"patient_id": "9990000019", "issuer": "RQM"})
    assert isinstance(decide(received(), local, Facts()), Accepted)


def test_an_empty_patient_id_is_a_warning() -> None:
    decision = decide(received(), JANE.model_copy(update={"patient_id": ""}), Facts())
    assert isinstance(decision, Accepted)
    assert [finding.check for finding in decision.warnings] == ["patient-id"]


def test_the_same_bytes_again_are_a_repeat() -> None:
    first = uuid4()
    assert decide(received(), JANE, Facts(accepted=Copy(first, "sha256:aa", "1.2.3"))) == Duplicated(first)


def test_the_same_bytes_as_held_before_are_not_held_twice() -> None:
    first = uuid4()
    broken = received(problem="unreadable")
    assert decide(broken, JANE, Facts(waiting=(Copy(first, "sha256:aa", "1.2.3"),))) == Duplicated(first)


def test_other_bytes_under_a_known_uid_are_a_conflict_that_holds_both_copies() -> None:
    first = Copy(uuid4(), "sha256:bb", "1.2.3")
    decision = held(decide(received(), JANE, Facts(accepted=first)))
    assert decision.checks == ("conflict",)
    assert decision.disputes == first.event_id
    assert decision.releasable


def test_a_known_uid_in_another_study_can_only_be_discarded_and_leaves_the_first_alone() -> None:
    first = Copy(uuid4(), "sha256:bb", "1.2.4")
    decision = held(decide(received(), JANE, Facts(accepted=first, same_pixels=True)))
    assert decision.checks == ("other-study",)
    assert decision.disputes is None
    assert not decision.releasable


def test_another_patient_within_a_study_is_held() -> None:
    other = demographics(JANE.model_copy(update={"patient_name": "ROE^RICHARD", "sex": "M"}), "RQM")
    decision = held(decide(received(), JANE, Facts(study=other)))
    assert decision.reason == "Patient's Name and Patient's Sex differ from the rest of the study"


def test_a_different_person_under_a_known_identifier_is_held() -> None:
    known = demographics(JANE.model_copy(update={"birth_date": "19800101"}), "RQM")
    assert "known under this identifier" in held(decide(received(), JANE, Facts(persons=(known,)))).reason


def test_all_that_is_wrong_is_reported_at_once() -> None:
    decision = held(decide(received(series_uid="", dataset_study_uid=""), JANE, Facts()))
    assert len(decision.findings) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [("DOE^JANE", "Doe^Jane^^"), ("DOE^JANE ", "DOE^JANE"), ("DOE^JANE=ideographic", "DOE^JANE"), ("", "X")],
)
def test_names_written_differently_agree(one: str, other: str) -> None:
    def with_name(name: str) -> Demographics:
        return demographics(JANE.model_copy(update={"patient_name": name}), "RQM")

    assert disagreements(with_name(one), with_name(other), identifiers=True) == []


def test_an_identifier_without_issuer_belongs_to_the_institution_it_came_from() -> None:
    mine = Identity(patient_id="1234")
    assert demographics(mine, "RQM").person != demographics(mine, "RT3").person


names = st.text(max_size=20)
identities = st.builds(
    Identity,
    patient_id=names,
    issuer=st.sampled_from(["", "NHS", "RQM"]),
    patient_name=names,
    birth_date=st.sampled_from(["", "19700101", "19800101"]),
    sex=st.sampled_from(["", "M", "F", "O"]),
)


@given(identities)
def test_everybody_agrees_with_themselves(identity: Identity) -> None:
    mine = demographics(identity, "RQM")
    assert disagreements(mine, mine, identifiers=True) == []


@given(identities, identities)
def test_agreement_does_not_depend_on_who_came_first(one: Identity, other: Identity) -> None:
    a, b = demographics(one, "RQM"), demographics(other, "RQM")
    assert disagreements(a, b, identifiers=True) == disagreements(b, a, identifiers=True)


@given(identities, st.uuids(), st.sampled_from(["sha256:aa", "sha256:bb"]))
def test_reasons_never_quote_the_patient(identity: Identity, event: UUID, digest: str) -> None:
    marked = identity.model_copy(update={"patient_id": "SECRET-ID", "patient_name": "SECRET^NAME"})
    stranger = demographics(JANE, "RQM")
    decision = decide(
        received(), marked, Facts(accepted=Copy(event, digest, "1.2.3"), study=stranger, persons=(stranger,))
    )
    assert "SECRET" not in repr(decision) or isinstance(decision, Accepted)
