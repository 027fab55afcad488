"""Messages of corrected and merged patients: which event they are, and that they say what is right."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.delivery.decide import Verdict
from imex.delivery.targets import CannotDeliver
from imex.delivery.targets.hl7 import judged
from imex.hl7.adt import CannotWrite, PersonFacts, write_adt
from imex.hl7.message import Message, read

AT = datetime(2026, 4, 2, 10, tzinfo=UTC)
NAME = UUID(int=7)
KNOWN = PersonFacts("123", "RQM", "OKONKWO^CHID^A^DR^JR", "19710403", "M")


def said(message: bytes) -> Message:
    return read(message)


def test_what_is_known_and_what_is_right_are_an_update() -> None:
    message = said(write_adt("demographics", PersonFacts(name="OKONKWO^CHIDI"), KNOWN, name=NAME, at=AT))
    assert message.kind == ("ADT", "A08")
    [pid] = message.of("PID")
    assert (pid.text(3), pid.text(3, 4), pid.text(5), pid.text(5, 2)) == ("123", "RQM", "OKONKWO", "CHIDI")
    assert (pid.text(7), pid.text(8)) == ("19710403", "M")
    assert not message.of("MRG")


def test_another_identifier_is_a_change_of_it_and_two_records_are_a_merge() -> None:
    right = PersonFacts("456", "RQM")
    for change, event in (("demographics", "A47"), ("merge", "A40")):
        message = said(write_adt(change, right, KNOWN, name=NAME, at=AT))  # type: ignore[arg-type]
        assert message.kind == ("ADT", event)
        [pid], [mrg] = message.of("PID"), message.of("MRG")
        assert (pid.text(3), mrg.text(1), mrg.text(1, 4)) == ("456", "123", "RQM")
        assert (pid.text(5, 4), pid.text(5, 5)) == ("JR", "DR"), "suffix and prefix"


def test_what_does_not_say_of_whom_is_not_written() -> None:
    with pytest.raises(CannotWrite):
        write_adt("demographics", PersonFacts(name="A"), PersonFacts(), name=NAME, at=AT)
    with pytest.raises(CannotWrite):
        write_adt("merge", PersonFacts("123", "RQM"), KNOWN, name=NAME, at=AT)


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20)


@given(TEXT, TEXT, TEXT)
def test_whatever_a_name_holds_comes_out_as_it_went_in(number: str, issuer: str, family: str) -> None:
    family = family.replace("^", "").replace("=", "")
    right = PersonFacts(name=family)
    wrong = PersonFacts(f"1{number}", issuer)
    message = said(write_adt("demographics", right, wrong, name=NAME, at=AT))
    [pid] = message.of("PID")
    assert pid.repetitions(3)[0][0][0] == f"1{number}"
    assert pid.text(3, 4) == issuer.strip()
    assert pid.text(5) == family.strip()


def answer(code: str, control: str = "R1", errors: str = "") -> Message:
    return read(f"MSH|^~\\&|PACS|RT3|||2026||ACK|9|P|2.5\rMSA|{code}|{control}|OKONKWO\r{errors}".encode())


def test_an_answer_decides() -> None:
    assert judged(answer("AA"), "R1").verdict is Verdict.CONFIRMED
    assert judged(answer("CA"), "R1").verdict is Verdict.CONFIRMED
    failed = judged(answer("AR", errors="ERR|||204^Unknown key identifier OKONKWO^HL70357|E\r"), "R1")
    assert (failed.verdict, failed.reason) == (
        Verdict.FAILED,
        "the listener refused the message with AR (code 204)",
    )
    assert judged(answer("AE"), "R1").verdict is Verdict.RETRY
    for other in (answer("AA", "R2"), answer("ZZ")):
        with pytest.raises(CannotDeliver):
            judged(other, "R1")
